from __future__ import annotations

import gzip

import pytest

from ms_eff.cleaning.chunks import Place, chunks
from ms_eff.cleaning.sources import find_sources
from ms_eff.errors import DataError
from tests.cleaning.reference import random_text


def pieces(path, size, start=None):
    return list(chunks(find_sources([path]), start or Place(), size))


@pytest.mark.parametrize("last_newline", [True, False])
@pytest.mark.parametrize("packed", [False, True])
def test_chunks_put_together_are_the_text_whatever_their_size(tmp_path, last_newline, packed):
    data = random_text(0, last_newline=last_newline)
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(data) if packed else data)
    longest = max(map(len, data.split(b"\n")))
    for size in (longest + 1, longest + 2, 500, 4096, 10**6):
        found = pieces(path, size)
        assert b"".join(chunk.data for chunk in found) == data
        assert max(len(chunk.data) for chunk in found) <= size
        assert all(chunk.data.endswith(b"\n") for chunk in found[:-1])
        assert found[-1].next.offset == len(data)
        assert found[-1].done == path.stat().st_size


def test_where_a_chunk_begins_says_where_it_ends(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(random_text(1) + b"x" * 900 + b"\n" + random_text(2))
    whole = pieces(path, 256)
    for index in range(0, len(whole), 7):
        rest = pieces(path, 256, whole[index].next)
        assert [(c.data, c.next) for c in rest] == [(c.data, c.next) for c in whole[index + 1 :]]


@pytest.mark.parametrize("end", [b"\n", b"\nshort\n", b""])
def test_a_line_longer_than_a_chunk_is_passed_over_without_being_held(tmp_path, end):
    path = tmp_path / "a"
    path.write_bytes(b"first\n" + b"x" * 10_000 + end)
    found = pieces(path, 64)
    passed = [chunk.passed for chunk in found if chunk.passed]
    assert passed == [10_000 + (end[:1] == b"\n")]
    assert b"".join(chunk.data for chunk in found) == b"first\n" + end[1:]
    assert found[-1].next.offset == path.stat().st_size


def test_an_empty_file_has_no_chunk(tmp_path):
    (tmp_path / "a").touch()
    assert pieces(tmp_path / "a", 100) == []


def test_a_folder_stands_for_its_files_by_name(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.txt", "b/1.txt", "a.txt", ".hidden", "c.txt"):
        (tmp_path / name).write_text(name)
    names = [s.path.removeprefix(f"{tmp_path}/") for s in find_sources([tmp_path])]
    assert names == ["a.txt", "b/1.txt", "b/2.txt", "c.txt"]


@pytest.mark.parametrize(
    ("inputs", "part"),
    [
        (["nowhere"], "nowhere: cannot be read: No such file"),
        (["empty"], "empty: holds no file"),
        (["-", "nowhere"], "stands alone"),
        ([], "no input"),
    ],
)
def test_inputs_that_are_none(tmp_path, monkeypatch, inputs, part):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=part):
        find_sources(inputs)


def test_damaged_gzip_is_named(tmp_path):
    path = tmp_path / "a.gz"
    whole = gzip.compress(random_text(3))
    for data in (
        whole[:-20],
        whole[:40] + b"\0\0\0\0" + whole[44:],
        whole + b"\x1f\x8bxxxxxxxxxxxx",
    ):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a\.gz: damaged gzip"):
            pieces(path, 1000)
