"""Text to token ids, kept without padding; no MindSpore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ms_eff.data.bpe import read_bpe
from ms_eff.errors import DataError, SetupError, first_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Tokens", "load_tokenizer", "tokenize"]


@dataclass(frozen=True)
class Tokens:
    """The tokens of many texts, one after the other.

    Attributes:
        ids: (T,) int32 of all texts.
        types: (T,) int8: 1 in the second text of a pair, else 0.
        starts: (N + 1,) where each text begins, and where the last one ends.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int8]
    starts: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) number of tokens of each text."""
        return np.diff(self.starts)

    def padded(self, indices: NDArray[np.int64], width: int) -> NDArray[np.int32]:
        """Return (n, 3, width): ids, mask and types of the texts; padding is all zeros.

        >>> tokens = Tokens(np.int32([5, 6, 7]), np.int8([0, 0, 1]), np.int64([0, 1, 3]))
        >>> tokens.padded(np.array([1, 0]), 3)[:, 0].tolist()
        [[6, 7, 0], [5, 0, 0]]
        """
        planes = np.zeros((len(indices), 3, width), np.int32)
        places = self.starts[indices][:, None] + np.arange(width)
        real = np.arange(width) < self.lengths[indices][:, None]
        planes[:, 0][real] = self.ids[places[real]]
        planes[:, 1] = real
        planes[:, 2][real] = self.types[places[real]]
        return planes


def load_tokenizer(path: Path, hint: str = "") -> Tokenizer:
    """Return the tokenizer of a `tokenizer.json` (Hugging Face's format, which runs no code).

    Args:
        path: the file; or a folder that holds one, or GPT-2's `vocab.json` and `merges.txt`.
        hint: where one may be had, for the error.

    Raises:
        DataError: missing or damaged.
        SetupError: the package `tokenizers` is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise SetupError(
            "tokenizers: text needs it, and it is not installed; `pip install 'ms_eff[text]'`"
        ) from error
    path = path / "tokenizer.json" if (path / "tokenizer.json").is_file() else path
    if path.is_dir() and (path / "vocab.json").is_file():
        return read_bpe(path / "vocab.json", path / "merges.txt")
    if not path.is_file():
        raise DataError(f"data.tokenizer = {path}: no such file; {hint or 'give tokenizer.json'}")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises plain Exception for any damage
        raise DataError(f"data.tokenizer = {path}: no tokenizer: {first_line(error)}") from error


def tokenize(
    tokenizer: Tokenizer, texts: Sequence[str], pairs: Sequence[str] | None, longest: int
) -> Tokens:
    """Return the tokens of texts, or of pairs, special tokens included.

    Args:
        tokenizer: its own padding and truncation are replaced.
        texts: the first of each pair.
        pairs: the second, or None.
        longest: tokens beyond are cut off, of a pair from the longer text first.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    inputs = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
    encoded = tokenizer.encode_batch(inputs)
    starts = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text.ids) for text in encoded], out=starts[1:])
    ids = np.concatenate([np.array(text.ids, np.int32) for text in encoded])
    types = np.concatenate([np.array(text.type_ids, np.int8) for text in encoded])
    return Tokens(ids, types, starts)
