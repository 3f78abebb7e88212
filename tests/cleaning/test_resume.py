"""A job that ends at any moment, and goes on: the same output as if it had not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

import ms_eff
from ms_eff.cleaning import chunks, clean
from ms_eff.cleaning.draft import Draft
from ms_eff.cleaning.progress import CleaningBar
from ms_eff.errors import ConfigError, SetupError
from ms_eff.train.interrupt import Interrupted
from tests.cleaning.reference import cleaned, random_text


class Crash(BaseException):
    """Stands for the end of the process: nothing of ours may catch it."""


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 2048)
    monkeypatch.setattr(clean, "SAVE_EVERY", 0.0)


@pytest.fixture
def job(tmp_path):
    """Files of 25 KB, one of them without a last newline; returns (a call, what must come out)."""
    parts = [random_text(seed, 200, last_newline=seed != 1) for seed in range(4)]
    for index, part in enumerate(parts):
        (tmp_path / f"{index}.txt").write_bytes(part)
    names = [tmp_path / f"{index}.txt" for index in range(len(parts))]

    def call(name="out", **args):
        report = ms_eff.clean_text(
            names, tmp_path / name, **{"workers": 1, "max_line": 500, **args}
        )
        return (tmp_path / name).read_bytes(), report

    joined = b"".join(part if part.endswith(b"\n") else part + b"\n" for part in parts)
    return call, cleaned(joined, max_line=500)


def crash_at(monkeypatch, count):
    """Write half of the `count`-th piece, then end."""
    write, left = Draft._write, [count]

    def half(self, data):
        left[0] -= 1
        if left[0] == 0:
            os.write(self._handle, data[: len(data) // 2])
            raise Crash
        write(self, data)

    monkeypatch.setattr(Draft, "_write", half)


@pytest.mark.parametrize("name", ["out", "out.gz"])
@pytest.mark.parametrize("save_every", [0.0, 1e9])
def test_a_crash_in_the_middle_of_any_write(job, monkeypatch, tmp_path, name, save_every):
    call, (expected, counts) = job
    monkeypatch.setattr(clean, "SAVE_EVERY", save_every)  # 1e9: nothing but the first state
    whole, report = call("whole" + name)
    if name == "out":
        assert (whole, report.dropped) == (expected, counts)
    for count in (1, 6):
        with monkeypatch.context() as patch:
            crash_at(patch, count)
            with pytest.raises(Crash):
                call(name)
        with monkeypatch.context() as patch:  # and once more, a little later
            crash_at(patch, 3)
            with pytest.raises(Crash):
                call(name, workers=2)
        found, again = call(name)
        assert found == whole
        assert (again.read, again.kept, again.dropped) == (report.read, report.kept, counts)
        assert not (tmp_path / f"{name}.state.json").exists()
        (tmp_path / name).unlink()


@pytest.mark.parametrize("moment", ["state.json", "report.json", "replace"])
def test_a_crash_while_it_finishes(job, monkeypatch, tmp_path, moment):
    call, (expected, counts) = job
    with monkeypatch.context() as patch:
        if moment == "replace":  # the output has its name, the state is still there
            patch.setattr("pathlib.Path.unlink", lambda *_, **__: _raise())
        else:
            replace = os.replace
            complete = []

            def check(old, new):
                if str(new).endswith("report.json") and moment == "report.json":
                    raise Crash
                if complete and str(new).endswith("out"):
                    raise Crash
                complete.append(str(new).endswith("report.json"))
                replace(old, new)

            patch.setattr(os, "replace", check)
        with pytest.raises(Crash):
            call()
    found, report = call(overwrite=moment == "replace")
    assert (found, report.dropped) == (expected, counts)
    assert not (tmp_path / "out.state.json").exists()


def _raise():
    raise Crash


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_where(job, monkeypatch, number, tmp_path):
    call, (expected, _) = job
    update, calls = CleaningBar.update, []

    def note(self, *args):
        calls.append(args)
        if len(calls) == 5:
            os.kill(os.getpid(), number)
        update(self, *args)

    monkeypatch.setattr(clean, "SAVE_EVERY", 1e9)
    with monkeypatch.context() as patch:
        patch.setattr(CleaningBar, "update", note)
        with pytest.raises(Interrupted, match=r"saved .*out\.partial") as stop:
            call()
    assert stop.value.code == 128 + number
    standing = json.loads((tmp_path / "out.state.json").read_text())["standing"]
    assert 0 < standing["read"] < 800
    before = standing["seconds"]
    found, report = call()
    assert found == expected
    assert report.seconds > before > 0


def test_other_settings_or_inputs_do_not_go_on(job, monkeypatch, tmp_path):
    call, (expected, _) = job
    with monkeypatch.context() as patch:
        crash_at(patch, 5)
        with pytest.raises(Crash):
            call()
    with pytest.raises(ConfigError, match=r"state\.json: .*\(settings\.min_words: 5 -> 6\)"):
        call(min_words=6)
    path = tmp_path / "2.txt"
    kept = path.stat().st_mtime_ns
    os.utime(path, ns=(kept, kept + 1))
    with pytest.raises(ConfigError, match=r"\(inputs\.3\.modified"):
        call()
    os.utime(path, ns=(kept, kept))
    names = [tmp_path / f"{index}.txt" for index in (0, 1, 3, 2)]
    with pytest.raises(ConfigError, match=r"\(inputs\.3\."):
        ms_eff.clean_text(names, tmp_path / "out", workers=1, max_line=500)
    assert call()[0] == expected


def test_start_over(job, monkeypatch, tmp_path):
    call, (expected, _) = job
    with monkeypatch.context() as patch:
        crash_at(patch, 5)
        with pytest.raises(Crash):
            call(min_words=3)
    assert call(fresh=True)[0] == expected


def test_a_draft_that_was_tampered_with_is_refused(job, monkeypatch, tmp_path):
    call, _ = job
    with monkeypatch.context() as patch:
        crash_at(patch, 6)
        with pytest.raises(Crash):
            call()
    draft, state = tmp_path / "out.partial", tmp_path / "out.state.json"
    whole, kept = draft.read_bytes(), state.read_bytes()
    first = whole.index(b"\n") + 1
    for damaged in (whole[:50], whole[:first] * 2 + whole[2 * first :], b"<p>" + whole[3:]):
        draft.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"out\.partial: damaged.*--fresh"):
            call()
    for text in ("{}", '{"format": "ms_eff.cleaning/1"}', "{"):
        state.write_text(text)
        with pytest.raises(ConfigError, match=r"state\.json: "):
            call()
    state.unlink()
    with pytest.raises(ConfigError, match="is there without"):
        call()
    draft.unlink()
    state.write_bytes(kept)  # nothing to go on with: from the start
    assert call()[1].read > 0


def test_two_at_once_are_refused(job, tmp_path):
    call, _ = job
    from ms_eff.cleaning.draft import open_draft

    with (
        open_draft(tmp_path / "out", {}),
        pytest.raises(SetupError, match="another process is writing it"),
    ):
        call(fresh=True)


@pytest.mark.gate
def test_sigkill_again_and_again(tmp_path):
    """Until it gets through; the workers of a killed process end by themselves."""
    data = b"".join(random_text(seed) for seed in range(20))
    (tmp_path / "in").write_bytes(data)
    code = (
        "import sys\n"
        "from ms_eff.cleaning import chunks, clean\n"
        "chunks.CHUNK, clean.SAVE_EVERY = 2**13, 0.0\n"
        "clean.clean_text(sys.argv[1], sys.argv[2], workers=2, max_line=500)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "in"), str(tmp_path / "out")]
    moments = random.Random(os.getpid())  # another moment in every run of the tests
    state = tmp_path / "out.state.json"
    for _ in range(2):
        process = subprocess.Popen(words)
        before = state.read_bytes() if state.exists() else b""
        while process.poll() is None and (not state.exists() or state.read_bytes() == before):
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.2))
        children = _children(process.pid)
        process.kill()
        process.wait()
        _wait_for_end(children)
        if (tmp_path / "out").exists():
            break
    else:
        subprocess.run(words, check=True)
    assert (tmp_path / "out").read_bytes() == cleaned(data, max_line=500)[0]


def _children(pid):
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _wait_for_end(processes):
    import psutil

    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
