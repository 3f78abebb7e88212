"""Plain text as blocks."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from ms_eff import data
from ms_eff.data.bpe import train_bpe
from ms_eff.data.packed import BlockSplit
from ms_eff.data.pipeline import batches
from ms_eff.data.settings import DataSettings
from ms_eff.errors import ConfigError, DataError
from tests.data.sentences import write_texts

pytest.importorskip("tokenizers")

IDS = np.arange(103, dtype=np.int32)


def test_windows_of_a_test_text_lie_end_to_end():
    split = BlockSplit(IDS, 10)
    ids, labels = split.batch(np.arange(len(split)), (0, 3))
    np.testing.assert_array_equal(ids.ravel(), IDS[:100])
    np.testing.assert_array_equal(ids, labels)
    assert (ids.dtype, split.image_shape, len(split)) == (np.int32, (10,), 10)


def test_each_epoch_shifts_the_grid_and_keeps_every_block():
    split = BlockSplit(IDS, 10, shifted=True)
    grids = [split.batch(np.arange(len(split)), (5, epoch))[0] for epoch in range(4)]
    assert len(split) == 9
    for grid in grids:
        np.testing.assert_array_equal(np.diff(grid.ravel()), 1)
    assert len({int(grid[0, 0]) for grid in grids}) > 1
    np.testing.assert_array_equal(split.batch(np.array([2]))[0], [np.arange(20, 30)])


def test_a_block_is_a_function_of_epoch_and_number():
    split = BlockSplit(IDS, 10, shifted=True)
    whole = list(rows(split, seed=3, epoch=1))
    later = list(rows(split, seed=3, epoch=1, start_batch=1))
    shared = [list(rows(split, 1, seed=3, epoch=1, rank=r, world_size=2)) for r in (0, 1)]
    for one, other in zip(whole[1:], later, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    for step, one in enumerate(whole):
        np.testing.assert_array_equal(one[0], np.concatenate([s[step][0] for s in shared]))


def rows(split, size=2, **options):
    found = batches(split, batch_size=size, **options)
    return found.create_tuple_iterator(num_epochs=1, output_numpy=True)


def test_filling_is_not_learned_from():
    split = BlockSplit(IDS, 10, shifted=True)
    *_, (ids, labels, index) = rows(split, 4, drop_last=False)
    np.testing.assert_array_equal(index >= 0, [True, False, False, False])
    np.testing.assert_array_equal(labels[0], ids[0])
    assert (labels[1:] == -100).all()


def test_a_text_that_fills_no_block_is_refused():
    with pytest.raises(DataError, match=r"data\.block = 200: a text of 103 tokens fills no block"):
        BlockSplit(IDS, 200)
    with pytest.raises(DataError, match=r"data\.train_limit: 10 samples asked for"):
        BlockSplit(IDS, 10, shifted=True, limit=10, key="train_limit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


def settings(folder, **changes):
    block = {"root": folder, "tokenizer": folder / "tokenizer.json", "block": 16}
    block |= {"train_files": ["a.txt", "b.txt"], "batch_size": 4, **changes}
    return DataSettings(name="language", **block)


def test_the_end_of_each_file_is_the_test_text(folder):
    from ms_eff.data.language import encode_files

    found = data.build(settings(folder, test_share=0.25))
    tokenizer = found.tokenizer
    texts = [encode_files(tokenizer, [folder / name]) for name in ("a.txt", "b.txt")]
    cuts = [len(ids) - round(0.25 * len(ids)) for ids in texts]
    np.testing.assert_array_equal(
        found.train.ids, np.concatenate([t[:c] for t, c in zip(texts, cuts, strict=True)])
    )
    np.testing.assert_array_equal(
        found.test.ids, np.concatenate([t[c:] for t, c in zip(texts, cuts, strict=True)])
    )
    assert found.task == "language"
    assert found.vocab == tokenizer.get_vocab_size()
    assert found.show(0)["text"] == tokenizer.decode(found.train.ids[:16].tolist())


def test_test_files_and_limits_count(folder):
    found = data.build(settings(folder, test_files=["b.txt"], train_limit=5, test_limit=3))
    assert (len(found.train), len(found.test)) == (5, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_files": None}, r"data\.train_files: language needs it; give the names"),
        ({"tokenizer": None}, r"data\.tokenizer: language needs it; .*ms-eff tokenizer"),
        ({"image_size": 32}, r"data\.image_size: language takes no"),
        ({"text_column": 1}, r"data\.text_column: language takes no 'text_column' \(for text\)"),
        ({"block": 1}, "block"),
    ],
)
def test_settings_that_do_not_fit_are_refused(folder, changes, said):
    with pytest.raises((ConfigError, ValidationError), match=said):
        settings(folder, **changes)


def test_a_missing_tokenizer_names_what_makes_one(folder):
    with pytest.raises(DataError, match=r"no such file; train one: `ms-eff tokenizer"):
        data.build(settings(folder, tokenizer=folder / "none.json"))


def test_a_tokenizer_that_cuts_texts_cuts_none_here(folder, tmp_path):
    tokenizer = train_bpe([folder / "a.txt"], 300, tmp_path / "tokenizer.json")
    tokenizer.enable_truncation(20)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert len(data.build(settings(folder, tokenizer=tmp_path / "tokenizer.json")).train) > 10
