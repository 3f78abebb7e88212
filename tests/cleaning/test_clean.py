"""The whole job on files, beside the plain reference."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading

import pytest

import ms_eff
from ms_eff.cleaning import chunks
from ms_eff.errors import ConfigError, DataError, SetupError
from tests.cleaning.reference import cleaned, random_text


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 2048)


def run(folder, data, name="out", **args):
    """Clean bytes; return those that stay, and the report."""
    (folder / "in").write_bytes(data)
    args = {"workers": 1, "overwrite": True, "max_line": 500, **args}
    report = ms_eff.clean_text(folder / "in", folder / name, **args)
    return (folder / name).read_bytes(), report


SETTINGS = [
    {},
    {"min_words": 2, "max_symbols": 0.3},
    {"html": False, "max_symbols": 1, "min_words": 0},
    {"duplicates": False, "allowed_tags": ("b", "unk")},
    {"max_line": 60},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_as_the_reference_says_and_a_second_time_nothing_goes(tmp_path, settings):
    met = set()
    for seed in range(6):
        data = random_text(seed, last_newline=seed % 3 > 0)
        expected, counts = cleaned(data, **{"max_line": 500, **settings})
        found, report = run(tmp_path, data, **settings)
        assert found == expected
        assert report.dropped == counts
        assert report.read == data.count(b"\n") + (not data.endswith(b"\n"))
        assert report.kept == report.read - sum(counts.values())
        assert (report.bytes_read, report.bytes_kept) == (len(data), len(found))
        again, second = run(tmp_path, found, **settings)
        assert again == found
        assert not any(second.dropped.values())
        met |= {reason for reason, count in counts.items() if count}
    if not settings:
        assert met == {"invalid_utf8", "html", "short", "symbols", "duplicate"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n\r\n",
        b"one two three four five",
        b"\xef\xbb\xbfone two three four five\r\n\xef\xbb\xbfa b c d e\r\n",
        b"one two three four five\r\none two three four five\n",
        b"one two three four\0five six seven eight\n\0\0\n",
        b"one two three four five\n\n\nsix seven eight nine ten",
        b"x" * 3000 + b"\none two three four five\n" + b"y" * 3000,
        b"x" * 501 + b"\n" + b"a b c d " + b"y" * 492 + b"\n",
    ],
)
def test_edges_stay_as_they_are_and_are_idempotent(tmp_path, data):
    expected, counts = cleaned(data, max_line=500)
    found, report = run(tmp_path, data)
    assert (found, report.dropped) == (expected, counts)
    assert run(tmp_path, found)[0] == found


def test_workers_change_nothing(tmp_path):
    data = b"".join(random_text(seed) for seed in range(20, 28))
    alone, report = run(tmp_path, data)
    together, other = run(tmp_path, data, "three", workers=3)
    assert alone == together
    assert (report.dropped, report.kept) == (other.dropped, other.kept)


def test_files_and_folders_in_one_output(tmp_path):
    """Gzip unpacked, a newline where an open last line is followed by something, not else."""
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "1.txt").write_bytes(b"\xef\xbb\xbfone two three four five")
    (folder / "2.gz").write_bytes(gzip.compress(b"") + gzip.compress(b"six seven eight nine ten\n"))
    (folder / "3.txt").touch()
    (tmp_path / "more").write_bytes(b"one two three four five\na b c d e f\nno")
    output = tmp_path / "out"
    report = ms_eff.clean_text([folder, tmp_path / "more"], output, workers=1)
    expected = b"\xef\xbb\xbfone two three four five\nsix seven eight nine ten\na b c d e f\n"
    assert output.read_bytes() == expected
    assert (report.read, report.dropped["duplicate"], report.dropped["short"]) == (5, 1, 1)
    assert run(tmp_path, expected, "again")[0] == expected


def test_a_packed_output_unpacks_to_the_plain_one(tmp_path):
    data = random_text(5, 600)
    plain, report = run(tmp_path, data)
    packed, same = run(tmp_path, data, "out.gz")
    assert gzip.decompress(packed) == plain
    assert report.bytes_kept == same.bytes_kept == len(plain)
    assert gzip.decompress(run(tmp_path, b"no\n", "none.gz")[0]) == b""


def test_the_report_beside_the_output(tmp_path):
    _, report = run(tmp_path, random_text(6), min_words=3)
    told = json.loads((tmp_path / "out.report.json").read_text())
    assert {key: told[key] for key in report.to_dict()} == report.to_dict()
    assert told["settings"]["min_words"] == 3
    assert told["inputs"]["1"]["size"] == (tmp_path / "in").stat().st_size
    assert told["environment"]["versions"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out", "out.report.json"]


def test_a_stream_is_cleaned_too(tmp_path):
    data = random_text(7)
    code = "import sys, ms_eff; ms_eff.clean_text('-', sys.argv[1], workers=1, max_line=500)"
    subprocess.run([sys.executable, "-c", code, tmp_path / "out"], input=data, check=True)
    assert (tmp_path / "out").read_bytes() == cleaned(data, max_line=500)[0]
    # a named pipe, and packed
    os.mkfifo(tmp_path / "pipe")
    feeding = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[gzip.compress(data)])
    feeding.start()
    ms_eff.clean_text(tmp_path / "pipe", tmp_path / "two", workers=1, max_line=500)
    feeding.join()
    assert (tmp_path / "two").read_bytes() == (tmp_path / "out").read_bytes()


def test_outside_of_the_main_thread(tmp_path):
    data = random_text(8)
    found = []
    thread = threading.Thread(target=lambda: found.append(run(tmp_path, data, workers=2)[0]))
    thread.start()
    thread.join()
    assert found == [cleaned(data, max_line=500)[0]]


def test_an_output_that_exists_stays_unless_told_otherwise(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ConfigError, match=r"out: exists; replace it with --overwrite"):
        run(tmp_path, b"one two three four five", overwrite=False)
    assert (tmp_path / "out").read_text() == "mine"
    assert run(tmp_path, b"one two three four five")[0] == b"one two three four five"


def test_an_output_that_is_an_input_is_refused(tmp_path):
    (tmp_path / "in").write_text("one two three four five")
    (tmp_path / "link").symlink_to("in")
    os.link(tmp_path / "in", tmp_path / "hard")
    (tmp_path / "b.partial").write_text("x")
    refused = [("in", "in"), ("in", "link"), ("in", "hard"), ("b.partial", "b"), (".", "new")]
    for source, output in refused:
        with pytest.raises(ConfigError, match=r"name another output|name it elsewhere"):
            ms_eff.clean_text(tmp_path / source, tmp_path / output, overwrite=True)
    with pytest.raises(ConfigError, match="the output is a file"):
        ms_eff.clean_text(tmp_path / "in", tmp_path)
    assert (tmp_path / "in").read_text() == "one two three four five"


def test_a_full_disk_leaves_no_output_and_the_same_call_goes_on(tmp_path, small_disk):
    data = b"".join(b"%d words stand in this line\n" % n for n in range(3000))
    (tmp_path / "in").write_bytes(data)

    def call():
        ms_eff.clean_text(tmp_path / "in", tmp_path / "out", workers=1, max_line=500)

    with small_disk(40_000), pytest.raises(SetupError, match=r"out\.partial: cannot be written"):
        call()
    assert not (tmp_path / "out").exists()
    call()
    assert (tmp_path / "out").read_bytes() == data


def test_a_damaged_input_leaves_nothing(tmp_path):
    (tmp_path / "in.gz").write_bytes(gzip.compress(random_text(9))[:-30])
    with pytest.raises(DataError, match="damaged gzip"):
        ms_eff.clean_text(tmp_path / "in.gz", tmp_path / "out", workers=2)
    assert [p.name for p in tmp_path.iterdir()] == ["in.gz"]


def test_a_folder_that_is_missing_is_named(tmp_path):
    (tmp_path / "in").touch()
    with pytest.raises(SetupError, match=r"nowhere/out\.partial: cannot be written: No such file"):
        ms_eff.clean_text(tmp_path / "in", tmp_path / "nowhere" / "out")


def test_memory_does_not_grow_with_the_text(tmp_path):
    """Ten times the text: the same peak but for some chunks."""
    code = (
        "import sys\n"
        "from ms_eff.bench.decompose import peak_bytes\n"
        "from ms_eff.cleaning import chunks\n"
        "from ms_eff.cleaning.clean import clean_text\n"
        "chunks.CHUNK = 2**16\n"
        "clean_text(sys.argv[1], sys.argv[2], workers=1, max_line=2**14)\n"
        "print(peak_bytes())"
    )
    peaks = []
    block = b"<p>One line that goes because of its tags.</p>\n" * 8_000 + b"x" * 2**18 + b"\n"
    for count in (1, 10):
        (tmp_path / "in").write_bytes(block * count)
        words = [sys.executable, "-c", code, tmp_path / "in", tmp_path / f"out{count}"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 4e6 < 9 * len(block)


def test_a_worker_that_dies_is_said(tmp_path, monkeypatch):
    from ms_eff.cleaning import crew

    start = crew._start

    def dying(settings):
        process = start(settings)
        process.kill()
        return process

    monkeypatch.setattr(crew, "_start", dying)
    with pytest.raises(SetupError, match=r"a worker ended .*the same command goes on"):
        run(tmp_path, random_text(10), workers=2)
    monkeypatch.setattr(crew, "_start", start)
    ms_eff.clean_text(tmp_path / "in", tmp_path / "out", workers=2, max_line=500)
    assert (tmp_path / "out").read_bytes() == cleaned(random_text(10), max_line=500)[0]
