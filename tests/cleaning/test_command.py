"""`ms-eff clean` as a user meets it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from tests.cleaning.reference import cleaned, random_text
from tests.test_cli import one_line

COMMAND = [sys.executable, "-c", "from ms_eff.cli import main; main()", "clean"]


def test_what_is_printed_are_the_counts(call, tmp_path):
    data = random_text(0)
    (tmp_path / "in").write_bytes(data)
    code, said, told = call("clean", tmp_path / "in", tmp_path / "out", "--workers", 1)
    assert code == 0, told
    expected, counts = cleaned(data)
    assert (tmp_path / "out").read_bytes() == expected
    shown = [line.strip().split("  ")[0] for line in said.splitlines() if "%" in line]
    assert shown[:2] == ["longer than the limit", "no valid UTF-8"]
    for count in (counts["html"], counts["short"], counts["symbols"], counts["duplicate"]):
        assert f" {count} " in said


def test_every_setting_is_an_option(call, tmp_path):
    data = random_text(1) + b"<unk> of <s> stay here with us\nx" + b"y" * 100 + b"\n"
    (tmp_path / "in").write_bytes(data)
    options = "--min-words 2 --max-symbols 0.4 --max-line 90 --allow-tag unk --allow-tag s"
    options += " --no-duplicates --workers 1"
    assert call("clean", tmp_path / "in", tmp_path / "out", *options.split())[0] == 0
    settings = {"min_words": 2, "max_symbols": 0.4, "max_line": 90, "duplicates": False}
    expected, counts = cleaned(data, allowed_tags=("unk", "s"), **settings)
    assert counts["too_long"] >= 1
    assert (tmp_path / "out").read_bytes() == expected
    assert call("clean", tmp_path / "in", tmp_path / "raw", "--no-html", "--workers", 1)[0] == 0
    assert (tmp_path / "raw").read_bytes() == cleaned(data, html=False)[0]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nowhere", "out"], "nowhere: cannot be read"),
        (["in", "in"], "name another output"),
        (["in", "old"], "--overwrite"),
        (["in", "out", "--min-words", -1], "min_words = -1"),
        (["in", "out", "--max-symbols", 10], "max_symbols = 10"),
        (["in", "out", "--allow-tag", "<b>"], "is no name of a tag"),
        (["in", "out", "--workers", 0], "workers = 0"),
        (["in", "-"], "the output is a file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(call, tmp_path, monkeypatch, words, part):
    monkeypatch.chdir(tmp_path)
    for name in ("in", "old"):
        (tmp_path / name).write_text("one two three four five\n")
    code, _, told = call("clean", *words)
    assert (code, part in one_line(told)) == (2, True), told
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "old"]


def test_help_shows_an_example(call):
    code, said, _ = call("clean", "--help")
    assert code == 0
    for part in ("ms-eff clean raw.txt", "--min-words", "--no-html", "--fresh", "IN", "OUT"):
        assert part in said


@pytest.mark.gate
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(tmp_path):
    """A text that comes slowly enough to be stopped in: fresh is left out of what to call."""
    data = b"".join(b"%d words stand in this line\n" % n for n in range(200_000))
    (tmp_path / "in").write_bytes(data)
    words = [*COMMAND, str(tmp_path / "in"), str(tmp_path / "out"), "--workers", "2"]
    process = subprocess.Popen([*words, "--fresh"], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "out.partial").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130, told
    line = one_line(told)
    assert "stopped by SIGINT; saved" in line
    assert "resume with: " in line
    assert "--fresh" not in line
    assert subprocess.run(words, check=True, capture_output=True)
    assert (tmp_path / "out").read_bytes() == data


def test_ctrl_c_ends_the_wait_for_a_stream_and_leaves_nothing(tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "-", str(tmp_path / "out")],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and not (tmp_path / "out.partial").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    process.communicate()
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_sees_a_bar(tmp_path):
    (tmp_path / "in").write_bytes(random_text(2))
    ours, theirs = pty.openpty()
    words = [*COMMAND, str(tmp_path / "in"), str(tmp_path / "out"), "--workers", "1"]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(words, stderr=theirs, stdout=subprocess.DEVNULL, env=environment) as job:
        os.close(theirs)
        seen = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    assert job.returncode == 0
    assert b"clean" in seen
    assert b"lines kept" in seen


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 2**12)
    except OSError:  # Linux says so when the other side is closed
        return b""
