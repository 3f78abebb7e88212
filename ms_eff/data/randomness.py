"""Random numbers addressed by (purpose, seed, epoch, sample) rather than drawn in turn.

Philox is a counter-based generator: a stream is its key and counter, nothing is carried over from
batch to batch. That is what makes a resumed, sharded or parallel run see the same pictures.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from ms_eff.errors import ConfigError

__all__ = ["RngKey", "Stream", "generator"]

RngKey = tuple[int, int]
"""(seed, epoch): all that an augmentation depends on besides the sample's index."""


class Stream(IntEnum):
    """What the numbers are for; streams never overlap."""

    ORDER = 0
    AUGMENT = 1
    SAMPLE = 2
    SYNTHETIC = 3
    MOTION = 4
    SUBSET = 5
    DISTILLATION = 6
    CUTOUT = 7


def generator(stream: Stream, seed: int, epoch: int = 0, sample: int = 0) -> np.random.Generator:
    """Return the generator at one address.

    Raises:
        ConfigError: a part of the address is negative.

    >>> a = generator(Stream.AUGMENT, seed=1, epoch=2).random()
    >>> a == generator(Stream.AUGMENT, seed=1, epoch=2).random()
    True
    >>> a == generator(Stream.AUGMENT, seed=1, epoch=3).random()
    False
    """
    if min(seed, epoch, sample) < 0:
        raise ConfigError(f"seed {seed}, epoch {epoch}, sample {sample}: none may be negative")
    # the low two counter words count blocks: 2^128 of them before two addresses could meet
    counter = np.array([0, 0, sample, stream], np.uint64)
    key = np.array([seed, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))
