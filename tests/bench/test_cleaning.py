from __future__ import annotations

import json

import pytest

from ms_eff.bench import cleaning
from ms_eff.errors import VerificationError
from tests.bench.test_dirty_text import TEXT


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(TEXT)
    return path


def test_a_small_text_is_measured_and_written(text, tmp_path, capsys):
    output = tmp_path / "speed.json"
    words = ["--text", str(text), "--gigabytes", "0.0003", "--work", str(tmp_path)]
    assert cleaning.main([*words, "--output", str(output)]) == 0
    found = json.loads(output.read_text())
    assert found["bytes"] >= 300_000
    assert found["lines"] == sum(found["counts"].values())
    assert 0 < found["seconds"] < found["wanted"]["seconds"] == 180
    assert 2e7 < found["peak_bytes"] < 1e9
    assert found["environment"]["seed"] == 0
    assert str(tmp_path) not in output.read_text()
    assert "met" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["speed.json", "text"]


@pytest.mark.parametrize(
    ("seconds", "peak", "code"), [(100, 5e8, 0), (181, 5e8, 1), (100, 1.1e9, 1)]
)
def test_the_exit_code_tells_whether_the_limits_were_kept(
    text, tmp_path, monkeypatch, capsys, seconds, peak, code
):
    row = {"bytes": 10**9, "seconds": seconds, "peak_bytes": peak, "lines": 9}
    row["counts"] = {"kept": 9}
    monkeypatch.setattr(cleaning, "measure", lambda *_: row)
    words = ["--text", str(text), "--gigabytes", "0.0001", "--output", str(tmp_path / "o.json")]
    assert cleaning.main(words) == code
    assert ("NOT met" in capsys.readouterr().out) is bool(code)


def test_the_text_is_the_same_every_time(text, tmp_path):
    counts = [cleaning.make_text([text], tmp_path / name, 1e5, 4) for name in "ab"]
    assert counts[0] == counts[1]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_counts_that_are_not_what_was_put_in_are_a_failure(text, tmp_path):
    counts = cleaning.make_text([text], tmp_path / "dirty", 1e4)
    counts["html"] += 1
    with pytest.raises(VerificationError, match="not what was put in"):
        cleaning.measure(tmp_path / "dirty", tmp_path / "out", counts, 1)
    with pytest.raises(VerificationError, match=r"could not be measured: ms-eff: .*exists"):
        cleaning.measure(tmp_path / "dirty", tmp_path / "out", counts, 1)


@pytest.mark.parametrize("content", [None, b"", b"no\n"])
def test_a_text_of_no_use_is_a_users_mistake(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "text").write_bytes(content)
    assert cleaning.main(["--text", str(tmp_path / "text")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("cleaning: ")
    assert said.count("\n") == 1
