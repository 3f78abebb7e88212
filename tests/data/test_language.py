"""Text as windows and packed blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ms_eff.data import language
from ms_eff.data.bpe import train_bpe
from ms_eff.data.language import Blocks, encode_files, windows
from ms_eff.errors import DataError


def test_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    (tmp_path / "1.txt").write_text("a b")
    (tmp_path / "2.txt").write_text("b b")
    found = encode_files(tokenizer, [tmp_path / "1.txt", tmp_path / "2.txt"])
    assert found.tolist() == [0, 1, 1, 1]
    (tmp_path / "3.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"3\.txt: cannot be read: not UTF-8"):
        encode_files(tokenizer, [tmp_path / "3.txt"])
    (tmp_path / "3.txt").write_text(" ")
    with pytest.raises(DataError, match=r"3\.txt: holds no text"):
        encode_files(tokenizer, [tmp_path / "3.txt"])
    with pytest.raises(DataError, match=r"none\.txt: cannot be read"):
        encode_files(tokenizer, [tmp_path / "none.txt"])


def test_a_long_text_is_encoded_in_pieces_to_the_same_tokens(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("tokenizers")
    rng = np.random.default_rng(0)
    parts = [
        "word",
        "it's",
        " ",
        "\n",
        "\n\n",
        "\t",
        "12",
        "\n ",
        " \n",
        "!",
        "é",
        "\u3000",
        "\r\n",
    ]
    text = "".join(rng.choice(parts, 4000))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8", newline="")
    tokenizer = train_bpe([tmp_path / "a.txt"], 300, tmp_path / "tokenizer.json")
    monkeypatch.setattr(language._pieces, "__defaults__", (20,))
    found = encode_files(tokenizer, [tmp_path / "a.txt"])
    read = (tmp_path / "a.txt").read_text(encoding="utf-8")
    assert len(list(language._pieces(read))) > 50
    assert found.tolist() == tokenizer.encode(read).ids


def test_windows_stop_at_the_wanted_tokens() -> None:
    assert windows(np.arange(20, dtype=np.int32), 4, 9).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(DataError, match="3 tokens make no window of 4"):
        windows(np.arange(3, dtype=np.int32), 4)


def test_an_epoch_holds_every_block_once() -> None:
    blocks = Blocks(np.arange(103, dtype=np.int32), length=10, batch=3, seed=1)
    found = np.concatenate([blocks.batch_at(step) for step in range(blocks.per_epoch // 3)])
    assert blocks.per_epoch == 9
    starts = np.sort(found[:, 0])
    np.testing.assert_array_equal(np.diff(starts), 10)
    np.testing.assert_array_equal(found - found[:, :1], np.tile(np.arange(11), (9, 1)))
    later = np.concatenate([blocks.batch_at(step) for step in range(3, 6)])
    assert set(later[:, 0]) != set(starts)  # another offset


def test_workers_share_a_batch_and_any_step_can_be_taken_up() -> None:
    blocks = Blocks(np.arange(400, dtype=np.int32), length=8, batch=4, seed=3)
    whole = blocks.batch_at(17)
    parts = [blocks.batch_at(17, rank, 2) for rank in (0, 1)]
    np.testing.assert_array_equal(np.stack(parts, 1).reshape(whole.shape), whole)


def test_too_little_text_is_refused() -> None:
    with pytest.raises(DataError, match="do not fill a batch of 4 blocks of 8"):
        Blocks(np.arange(30, dtype=np.int32), length=8, batch=4)
