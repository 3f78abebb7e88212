"""Byte-level BPE as GPT-2 has it: read from vocabulary and merges, or trained on text files.

Every string has a token sequence, since the 256 bytes are tokens too; nothing is ever unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ms_eff.errors import DataError, SetupError, first_line
from ms_eff.files import replacing

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["BYTES", "END_OF_TEXT", "read_bpe", "train_bpe"]

# the one special token, which stands for the end of a document
END_OF_TEXT = "<|endoftext|>"
# tokens that any vocabulary holds
BYTES = 256


def read_bpe(vocab: str | Path, merges: str | Path) -> Tokenizer:
    """Return the tokenizer of GPT-2's two files.

    Args:
        vocab: vocab.json, token to number.
        merges: merges.txt, a pair a line, the earliest first.

    Raises:
        DataError: a file is missing or damaged.
        SetupError: the package `tokenizers` is not installed.
    """
    for path in map(Path, (vocab, merges)):
        if not path.is_file():
            raise DataError(f"{path}: no such file; vocab.json and merges.txt go together")
    _require()
    from tokenizers import AddedToken
    from tokenizers.models import BPE

    try:
        model = BPE.from_file(str(vocab), str(merges))
    except Exception as error:  # the package raises plain Exception for any damage
        raise DataError(f"{vocab}, {merges}: no byte-level BPE: {first_line(error)}") from error
    tokenizer = _byte_level(model)
    if tokenizer.token_to_id(END_OF_TEXT) is not None:
        tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True)])
    return tokenizer


def train_bpe(
    files: Sequence[str | Path], vocab: int, output: str | Path, min_frequency: int = 2
) -> Tokenizer:
    """Train a byte-level BPE on text files and write it as a tokenizer.json.

    Args:
        files: UTF-8 texts.
        vocab: number of tokens, of which 256 are the bytes and one is the end of a text; fewer
            come out of texts with too few repeated pairs.
        output: the file; its folder is made if it is missing.
        min_frequency: a pair must occur that often to become a token.

    Returns:
        The tokenizer.

    Raises:
        DataError: a file is missing or not UTF-8, or `vocab` leaves no room.
        SetupError: the package `tokenizers` is not installed, or the file cannot be written.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("low lower lowest " * 9)
    >>> tokenizer = train_bpe([folder / "a.txt"], 270, folder / "tokenizer.json")
    >>> tokenizer.decode(tokenizer.encode("slowest").ids)
    'slowest'
    """
    if vocab <= BYTES:
        raise DataError(
            f"vocab = {vocab}: 256 tokens are the single bytes, and one is the end of a text; "
            "give some thousands"
        )
    texts = _checked(files)
    _require()
    from tokenizers import trainers
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    tokenizer = _byte_level(BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        min_frequency=min_frequency,
        show_progress=False,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(ByteLevel.alphabet()),
    )
    tokenizer.train([str(path) for path in texts], trainer)
    with replacing(output, SetupError, parents=True) as temporary:
        temporary.write_text(tokenizer.to_str(), encoding="utf-8")
    return tokenizer


def _byte_level(model: object) -> Tokenizer:
    """Return a tokenizer that cuts text as GPT-2's regular expression does, into bytes."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _checked(files: Sequence[str | Path]) -> list[Path]:
    """Return the paths; raise DataError for one that the package would stumble over."""
    if not files:
        raise DataError("files: no text is named; give at least one")
    for path in map(Path, files):
        try:
            with path.open(encoding="utf-8") as stream:
                for _ in stream:
                    pass
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or f"not UTF-8 ({error})"
            raise DataError(f"{path}: cannot be read: {reason}") from error
    return [Path(path) for path in files]


def _require() -> None:
    try:
        import tokenizers  # noqa: F401
    except ImportError as error:
        raise SetupError(
            "tokenizers: text needs it, and it is not installed; `pip install 'ms_eff[text]'`"
        ) from error
