"""Text for causal language models: token ids of files, windows to score, packed blocks to train on.

Nothing here knows MindSpore or a model; which batch a step trains on depends on the seed alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ms_eff.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Blocks", "check_vocabulary", "encode_files", "windows"]

Ids = NDArray[np.int32]

_EMPTY = np.zeros(0, np.int32)
# characters that are encoded at a time
_PIECE = 2**20
# a line break in front of a word
_BREAK = re.compile(r"\n(?=\S)")


def encode_files(tokenizer: Tokenizer, paths: Sequence[str | Path]) -> Ids:
    """Return the token ids (n,) of text files, one after the other.

    Each file is read whole, and line ends of any kind are read as newlines.

    Raises:
        DataError: a file is missing, no UTF-8, or empty.
    """
    found = []
    for path in map(Path, paths):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or f"not UTF-8 ({error})"
            raise DataError(f"{path}: cannot be read: {reason}") from error
        pieces = _pieces(text) if _cuts_at_lines(tokenizer) else [text]
        ids = np.concatenate([_EMPTY, *(_encoded(tokenizer, piece) for piece in pieces)])
        if not len(ids):
            raise DataError(f"{path}: holds no text; name another file")
        found.append(ids)
    if not found:
        raise DataError("text: no file is named")
    return np.concatenate(found)


def _encoded(tokenizer: Tokenizer, text: str) -> Ids:
    return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int32)


def _cuts_at_lines(tokenizer: Tokenizer) -> bool:
    """Tell whether a text may be cut before line breaks without other tokens coming out.

    GPT-2's rule makes a line break in front of a word a word of its own; other tokenizers put a
    mark in front of whatever a text begins with.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    words = tokenizer.pre_tokenizer
    plain = isinstance(words, ByteLevel) and words.use_regex and not words.add_prefix_space
    return plain and tokenizer.normalizer is None


def _pieces(text: str, size: int = _PIECE) -> Iterator[str]:
    r"""Yield a text in pieces of at least `size` characters; the package keeps 100 bytes for each.

    >>> list(_pieces("ab\ncd\n\nef\ngh", 2))
    ['ab', '\ncd\n', '\nef', '\ngh']
    """
    start = 0
    while start < len(text):
        found = _BREAK.search(text, start + size)
        end = len(text) if found is None else found.start()
        yield text[start:end]
        start = end


def windows(ids: Ids, length: int, tokens: int | None = None, name: str = "text") -> Ids:
    """Return (n, length) windows that lie end to end; a rest that fills none is left out.

    Args:
        ids: (n,) of a text.
        length: of a window; its first token is context, the others are scored.
        tokens: take at most that many from the start. What comes out may hold fewer: its size
            says how many, which results should state.
        name: of the text, for errors.

    Raises:
        DataError: the text, or what is taken of it, is shorter than one window.

    >>> windows(np.arange(7, dtype=np.int32), 3).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    taken = min(len(ids), tokens or len(ids))
    count = taken // length
    if not count:
        raise DataError(f"{name}: {taken} tokens make no window of {length}; shorten the window")
    return ids[: count * length].reshape(count, length)


def check_vocabulary(ids: Sequence[int] | Ids, size: int, name: str) -> None:
    """Refuse tokens that a model has no embedding for, before an operator does, in its own words.

    Args:
        ids: of a text.
        size: of the model's vocabulary.
        name: of the text, for errors.

    Raises:
        ConfigError: the largest id is beyond it.

    >>> check_vocabulary([1, 3], 4, "evaluation.files")
    """
    largest = max(ids, default=0) if isinstance(ids, Sequence) else int(ids.max(initial=0))
    if largest >= size:
        raise ConfigError(
            f"{name}: the tokenizer gives token {largest}, and the model has {size}; name the "
            "tokenizer that belongs to it"
        )


class Blocks:
    """Packed blocks of a long text, in another order every time they are gone through.

    Each epoch shifts the grid by a random offset, so that block ends fall elsewhere (ours); which
    block is the `i`-th of the whole training depends on the seed alone, so that a run can go on
    from any batch, and every worker takes its own share of each batch.

    Args:
        ids: (n,) of the text.
        length: tokens of a block that are predicted; a block holds one more.
        batch: blocks in a batch, over all workers.
        seed: of offsets and order.
        name: of the text, for errors.

    Raises:
        DataError: the text does not fill two batches.

    >>> blocks = Blocks(np.arange(20, dtype=np.int32), length=3, batch=2, seed=0)
    >>> blocks.batch_at(0).shape
    (2, 4)
    """

    def __init__(
        self, ids: Ids, length: int, batch: int, seed: int = 0, name: str = "text"
    ) -> None:
        self.ids, self.length, self.batch, self.seed = ids, length, batch, seed
        # one block fewer than fit, so that every offset leaves as many
        self.per_epoch = (len(ids) - 1) // length - 1
        if self.per_epoch < batch:
            raise DataError(
                f"{name}: {len(ids)} tokens do not fill a batch of {batch} blocks of {length}; "
                "take more text, or a smaller batch"
            )

    def batch_at(self, step: int, rank: int = 0, workers: int = 1) -> Ids:
        """Return the (batch / workers, length + 1) ids of one training step on one worker."""
        places = range(step * self.batch + rank, (step + 1) * self.batch, workers)
        return np.stack([self._block(place) for place in places])

    def _block(self, place: int) -> Ids:
        epoch, index = divmod(place, self.per_epoch)
        rng = np.random.default_rng((self.seed, epoch))
        offset = int(rng.integers(self.length))
        start = offset + int(rng.permutation(self.per_epoch)[index]) * self.length
        return self.ids[start : start + self.length + 1]
