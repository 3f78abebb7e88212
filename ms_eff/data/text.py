"""Labelled texts, or pairs of texts, from tables: SST-2, the other sets of GLUE, one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ms_eff.data.base import Batch, DataSet, Split
from ms_eff.data.order import balanced_subset
from ms_eff.data.randomness import RngKey
from ms_eff.data.settings import DataSettings
from ms_eff.data.tables import read_columns
from ms_eff.data.tokens import Tokens, load_tokenizer, tokenize
from ms_eff.errors import DataError
from ms_eff.sources import MINILM

__all__ = ["TextSet", "TextSplit", "load", "load_split"]


class TextSplit(Split):
    """Texts as token ids; a batch is padded to the shortest bucket that holds all of it.

    Args:
        tokens: of all texts.
        texts: as they were read, pairs joined by a bar.
        labels: (N,) classes.
        classes: name of each class.
        buckets: lengths that a batch may have, rising; no text is longer than the last.
    """

    columns = ("tokens", "label")

    def __init__(
        self,
        tokens: Tokens,
        texts: Sequence[str],
        labels: NDArray[np.int32],
        classes: tuple[str, ...],
        buckets: tuple[int, ...],
    ) -> None:
        super().__init__(labels, classes, (3, buckets[-1]))
        self.texts = texts
        self._tokens = tokens
        bucket = np.searchsorted(buckets, tokens.lengths)
        self.lengths = np.asarray(buckets)[bucket]

    def batch(self, indices: NDArray[np.int64], key: RngKey | None = None) -> Batch:
        """Return (B, 3, L) int32 ids, masks and types, L the longest bucket, and (B,) labels."""
        return self._tokens.padded(indices, self.image_shape[-1]), self.labels[indices]

    def cut(self, batch: Batch, length: int) -> Batch:
        """Return the batch at that length."""
        return np.ascontiguousarray(batch[0][..., :length]), *batch[1:]


@dataclass(frozen=True)
class TextSet(DataSet):
    """A data set of texts.

    Attributes:
        vocab: number of tokens that the tokenizer knows.
    """

    vocab: int = 0

    def show(self, index: int) -> dict[str, str]:
        """Return a training sample for a report: `{"text": ...}`."""
        split = self.train
        return {"text": split.texts[index] if isinstance(split, TextSplit) else ""}


def load(settings: DataSettings) -> TextSet:
    """Return the texts of `train_file` and `test_file` under `root`.

    Raises:
        DataError: a file is missing or damaged, or a test label occurs in no training row.
    """
    tokenizer = load_tokenizer(_given(settings.tokenizer), MINILM)
    vocab = tokenizer.get_vocab_size()
    train = load_split(settings, str(settings.train_file), settings.train_limit, "train_limit")
    test = load_split(
        settings, str(settings.test_file), settings.test_limit, "test_limit", train.classes
    )
    return TextSet("text", train, test, (), (), vocab)


def load_split(
    settings: DataSettings,
    file: str,
    limit: int | None = None,
    key: str = "test_limit",
    classes: tuple[str, ...] | None = None,
) -> TextSplit:
    """Return one table as a split.

    Args:
        settings: root, tokenizer, columns, buckets.
        file: below `root`.
        limit: take the first so many, evenly over the classes; None: all.
        key: the limit's name, for the error.
        classes: names of the classes; by default the labels that occur, in order of value.
    """
    columns = [settings.text_column, settings.pair_column, settings.label_column]
    wanted = [column for column in columns if column is not None]
    path = _given(settings.root) / file
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; data.root names the folder, data.train_file and "
            "data.test_file the tables in it"
        )
    texts, *pairs, words = read_columns(path, wanted)
    names = classes or _classes(words)
    number = {name: i for i, name in enumerate(names)}
    for word in words:
        if word not in number:
            raise DataError(
                f"{path}: label '{word}' is none of the training file's: {', '.join(names)}; "
                "check data.label_column"
            )
    labels = np.array([number[word] for word in words], np.int32)
    chosen = balanced_subset(labels, limit, f"data.{key}")
    first = [texts[i] for i in chosen]
    second = [pairs[0][i] for i in chosen] if pairs else None
    buckets = settings.buckets or (128,)
    tokenizer = load_tokenizer(_given(settings.tokenizer), MINILM)
    tokens = tokenize(tokenizer, first, second, buckets[-1])
    shown = first if second is None else [f"{a} | {b}" for a, b in zip(first, second, strict=True)]
    return TextSplit(tokens, shown, labels[chosen], names, buckets)


def _classes(words: Sequence[str]) -> tuple[str, ...]:
    """Return the labels that occur: numbers by value, others by alphabet."""
    found = set(words)
    numeric = all(word.lstrip("-").isdigit() for word in found)
    if len(found) > 1000 or len(found) < 2:
        raise DataError(
            f"data.label_column: {len(found)} different labels, such as '{next(iter(found))}'; "
            "name the column that holds the classes"
        )
    return tuple(sorted(found, key=int) if numeric else sorted(found))


def _given(path: Path | None) -> Path:
    return Path() if path is None else path
