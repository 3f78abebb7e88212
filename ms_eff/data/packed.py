"""Plain text for training language models: blocks of equal length, cut from one long text.

A sample is a block of L token ids, and its labels are the same ids: the loss shifts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ms_eff.data.base import Batch, DataSet, Split
from ms_eff.data.language import Ids, encode_files
from ms_eff.data.order import balanced_subset
from ms_eff.data.randomness import RngKey, Stream, generator
from ms_eff.data.settings import DataSettings
from ms_eff.data.tokens import load_tokenizer
from ms_eff.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["BlockSplit", "LanguageSet", "language_set", "load"]


class BlockSplit(Split):
    """Blocks that lie end to end in a text.

    In training, each epoch shifts the grid by a random offset, so that block ends fall elsewhere
    (ours, as `ms_eff.data.language.Blocks`); without augmentation the first block begins the text.

    Args:
        ids: (n,) of the text.
        length: L, tokens of a block.
        shifted: whether it is for training: one block fewer, so that every offset leaves as many.
        limit: only the first so many blocks; None: all.
        key: the limit's name, for the error.

    Raises:
        DataError: the text fills no block, or fewer than the limit.

    >>> split = BlockSplit(np.arange(10, dtype=np.int32), 4)
    >>> split.batch(np.array([1]))[0].tolist()
    [[4, 5, 6, 7]]
    """

    columns = ("tokens", "label")

    def __init__(
        self,
        ids: Ids,
        length: int,
        *,
        shifted: bool = False,
        limit: int | None = None,
        key: str = "test_limit",
    ) -> None:
        count = (len(ids) - (length - 1 if shifted else 0)) // length
        if count < 1:
            raise DataError(
                f"data.block = {length}: a text of {len(ids)} tokens fills no block; "
                "shorten it, or give more text"
            )
        # one class: every block is of the text
        labels = np.zeros(count, np.int32)
        chosen = balanced_subset(labels, limit, f"data.{key}")
        super().__init__(labels[chosen], ("text",), (length,))
        self.ids, self.length, self.shifted = ids, length, shifted

    def batch(self, indices: NDArray[np.int64], key: RngKey | None = None) -> Batch:
        """Return (B, L) int32 ids, and the same as labels; see `Split.batch`."""
        offset = 0
        if self.shifted and key is not None:
            offset = int(generator(Stream.AUGMENT, *key).integers(self.length))
        places = offset + np.asarray(indices)[:, None] * self.length + np.arange(self.length)
        blocks = self.ids[places]
        return blocks, blocks.copy()


@dataclass(frozen=True)
class LanguageSet(DataSet):
    """A text to learn and one to judge by.

    Attributes:
        vocab: number of tokens that the tokenizer knows.
        tokenizer: of the text, to show blocks with; None shows numbers.
    """

    task: ClassVar[str] = "language"

    vocab: int = 0
    tokenizer: Any = None

    def show(self, index: int) -> dict[str, str]:
        """Return a training block for a report: `{"text": ...}`."""
        ids = self.train.batch(np.array([index]))[0][0].tolist()
        return {"text": " ".join(map(str, ids)) if self.tokenizer is None else self._text(ids)}

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids))


def load(settings: DataSettings) -> LanguageSet:
    """Return the blocks of the text files under `root`.

    Raises:
        DataError: a file is missing or damaged, or too short.
    """
    root = settings.root or Path()
    tokenizer = load_tokenizer(
        settings.tokenizer or Path(), "train one: `ms-eff tokenizer OUT FILES...`"
    )
    return language_set(
        tokenizer,
        [root / name for name in settings.train_files or ()],
        [root / name for name in settings.test_files or ()],
        block=settings.block or 1,
        test_share=settings.test_share or 0.0,
        limits=(settings.train_limit, settings.test_limit),
    )


def language_set(
    tokenizer: Tokenizer,
    train_files: Sequence[Path],
    test_files: Sequence[Path] = (),
    *,
    block: int,
    test_share: float = 0.05,
    limits: tuple[int | None, int | None] = (None, None),
) -> LanguageSet:
    """Return text files as blocks for training and windows for testing.

    Args:
        tokenizer: of both.
        train_files: UTF-8 texts, joined in this order.
        test_files: likewise; without any, the end of every training file is the test text.
        block: tokens of a block.
        test_share: that end, as a share of each file's tokens.
        limits: of training and test blocks; None takes all.

    Raises:
        DataError: a file is missing or damaged, or too short.
    """
    tokenizer.no_truncation()
    texts = [encode_files(tokenizer, [path]) for path in train_files]
    if test_files:
        test = encode_files(tokenizer, test_files)
    else:
        cuts = [len(ids) - round(test_share * len(ids)) for ids in texts]
        test = np.concatenate([ids[cut:] for ids, cut in zip(texts, cuts, strict=True)])
        texts = [ids[:cut] for ids, cut in zip(texts, cuts, strict=True)]
    learned = BlockSplit(
        np.concatenate(texts), block, shifted=True, limit=limits[0], key="train_limit"
    )
    judged = BlockSplit(test, block, limit=limits[1])
    return LanguageSet("language", learned, judged, (), (), tokenizer.get_vocab_size(), tokenizer)
