"""Byte-level BPE against transformers' own in Python."""

from __future__ import annotations

import json

import pytest

from ms_eff.data.bpe import END_OF_TEXT, read_bpe, train_bpe
from ms_eff.data.tokens import load_tokenizer
from ms_eff.errors import DataError

pytest.importorskip("tokenizers")

TEXT = "The cat's low, lower and lowest hats; it'll rain. \n\n  Naïve 😀 texts\thave 12 345 traps!"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bpe")
    (folder / "a.txt").write_text(TEXT * 3, encoding="utf-8")
    (folder / "b.txt").write_text("lower lowest hats " * 20, encoding="utf-8")
    path = folder / "tokenizer.json"
    return train_bpe([folder / "a.txt", folder / "b.txt"], 330, path), path


def test_any_text_survives_the_way_there_and_back(trained):
    tokenizer, path = trained
    for text in (TEXT, " leading", "日本語 \x00\x7f", ""):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert len(tokenizer.encode("lowest lowest").ids) < len("lowest lowest") // 2
    assert tokenizer.get_vocab_size() <= 330
    assert load_tokenizer(path).encode(TEXT).ids == tokenizer.encode(TEXT).ids


def test_training_twice_gives_the_same(trained, tmp_path):
    tokenizer, path = trained
    again = train_bpe([path.parent / "a.txt", path.parent / "b.txt"], 330, tmp_path / "t.json")
    assert again.to_str() == tokenizer.to_str()


def test_the_two_files_of_gpt2_are_read_as_transformers_reads_them(trained, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = json.loads(trained[0].to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    ours = load_tokenizer(tmp_path)
    theirs = transformers.GPT2Tokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    for text in (TEXT, "lowest  of\n all", f"one{END_OF_TEXT}two"):
        assert ours.encode(text).ids == theirs(text)["input_ids"]


@pytest.mark.parametrize(
    ("files", "vocab", "said"),
    [
        (["a.txt"], 256, "vocab = 256"),
        ([], 300, "no text is named"),
        (["none.txt"], 300, r"none\.txt: cannot be read: No such file"),
        (["bad.txt"], 300, r"bad\.txt: cannot be read: not UTF-8"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tmp_path, files, vocab, said):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=said):
        train_bpe([tmp_path / name for name in files], vocab, tmp_path / "tokenizer.json")
    assert not (tmp_path / "tokenizer.json").exists()


def test_files_that_are_not_there_or_damaged_are_named(tmp_path):
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(DataError, match=r"merges\.txt: no such file; .* go together"):
        load_tokenizer(tmp_path)
    (tmp_path / "merges.txt").write_text("a b\n")
    with pytest.raises(DataError, match="no byte-level BPE"):
        read_bpe(tmp_path / "vocab.json", tmp_path / "merges.txt")


def test_a_file_that_is_there_stays_unless_told_otherwise(tmp_path):
    text, output = tmp_path / "a.txt", tmp_path / "tokenizer.json"
    text.write_text("low lower lowest " * 9, encoding="utf-8")
    for target, overwrite in ((text, False), (text, True)):
        with pytest.raises(DataError, match="would replace a text"):
            train_bpe([text], 270, target, overwrite=overwrite)
    assert text.read_text(encoding="utf-8") == "low lower lowest " * 9
    train_bpe([text], 270, output)
    with pytest.raises(DataError, match="is there already; --overwrite replaces it"):
        train_bpe([text], 280, output)
    assert train_bpe([text], 262, output, overwrite=True).get_vocab_size() == 262
