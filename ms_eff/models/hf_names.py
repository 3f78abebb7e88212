"""A language model's arrays in Hugging Face's files, under the names that our networks have.

A Llama here has Hugging Face's names. GPT-2's are others there, its matrices (in, out), and its
head is not kept; factors are two plain linears, (out, in), under their layer's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ms_eff.errors import CheckpointError
from ms_eff.models.naming import GPT2
from ms_eff.models.renaming import Naming
from ms_eff.models.shards import Shards

__all__ = ["NamedShards", "from_hf", "to_hf"]

# model -> its namings; one that is not here has Hugging Face's names
_NAMINGS: Mapping[str, tuple[Naming, ...]] = {"gpt2": GPT2}


class NamedShards:
    """Arrays of safetensors, single or sharded, under our names, each read as it is asked for.

    Args:
        path: a file or a folder, as `Shards` takes it.
        model: `llama` or `gpt2`.

    Raises:
        CheckpointError: nothing is there, or a file is damaged.
    """

    def __init__(self, path: str | Path, model: str) -> None:
        self._shards = Shards(path)
        self._naming = _naming_of(self._shards.names(), model)
        self._theirs = _ours(self._shards.names(), self._naming)

    def __contains__(self, name: str) -> bool:
        return name in self._theirs

    def names(self) -> list[str]:
        """Return our names of all arrays."""
        return list(self._theirs)

    def array(self, name: str) -> np.ndarray:
        """Return one array, read now, the way round that our networks have it."""
        theirs = self._theirs.get(name, name)
        array = self._shards.array(theirs)
        if self._naming is None:
            return array
        return np.asarray(self._naming.join({theirs: array})[theirs], order="C")


def to_hf(arrays: Mapping[str, np.ndarray], model: str) -> dict[str, np.ndarray]:
    """Return a network's arrays as Hugging Face has them.

    Raises:
        CheckpointError: one of them has no name there.
    """
    if model not in _NAMINGS:
        return dict(arrays)
    naming = _NAMINGS[model][0]
    named = naming.renamed(dict(arrays))
    if named is None:
        unknown = (n for n in arrays if not naming.keeps(n) and naming.to_theirs(n) is None)
        raise CheckpointError(
            f"{model}: '{next(unknown)}' has no name in Hugging Face's naming; is it of a network "
            "that was changed otherwise than into factors?"
        )
    return named


def from_hf(arrays: Mapping[str, np.ndarray], model: str) -> dict[str, np.ndarray]:
    """Return Hugging Face's arrays as a network has them; the inverse of `to_hf`.

    >>> weight = np.zeros((2, 6))
    >>> {n: a.shape for n, a in to_hf({"blocks.0.attn.qkv.weight": weight.T}, "gpt2").items()}
    {'transformer.h.0.attn.c_attn.weight': (2, 6)}
    >>> list(from_hf({"transformer.h.0.attn.c_attn.weight": weight}, "gpt2"))
    ['blocks.0.attn.qkv.weight']
    """
    naming = _naming_of(arrays, model)
    if naming is None:
        return dict(arrays)
    turned = naming.join(dict(arrays))
    return {ours: turned[theirs] for ours, theirs in _ours(arrays, naming).items()}


def _naming_of(keys: Iterable[str], model: str) -> Naming | None:
    """Return the naming that knows most of the keys: with or without `transformer.`, say."""
    keys = list(keys)
    known = _NAMINGS.get(model, ())
    return max(known, key=lambda n: sum(n.to_ours(k) is not None for k in keys), default=None)


def _ours(keys: Iterable[str], naming: Naming | None) -> dict[str, str]:
    """Return our name -> theirs of all keys; what has no counterpart is left out."""
    if naming is None:
        return {key: key for key in keys}
    return {naming.to_ours(key) or key: key for key in keys if not naming.ignores(key)}
