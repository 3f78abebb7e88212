"""A family's page: what its rows say, and nothing else."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ms_eff.errors import ConfigError
from ms_eff.report.language_family import family_page, write_family
from tests.report.test_comparison import CALL, rows
from tests.report.test_page import Outline

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")


def member(ratio: float, params: int, perplexity: float, right: float) -> dict[str, Any]:
    return {
        "ratio": ratio,
        "params": params,
        "block_params": params // 2,
        "perplexity": perplexity,
        "evaluation_tokens": 20_480,
        "scored_tokens": 20_460,
        "zero_shot": {"bo$ol<q>$": {"accuracy": right, "normalised": 0.5, "questions": 40}},
        "samples": [f"Once {ratio} <b>", "A\n second"],
    }


def family() -> dict[str, Any]:
    return {
        "environment": CALL,
        "settings": {
            "parent": {"path": "there/tiny.gguf"},
            "evaluation": {"files": ["x/test.txt"], "window": 1024, "prompts": ["Once", "A"]},
        },
        "rows": [member(1.0, 2_000_000, 20.0, 0.6), member(1.25, 1_500_000, 26.0, 0.55)],
    }


def speed() -> dict[str, Any]:
    timed = [("0: tiny.gguf", 2_000_000, 100.0, 1.0), ("1: 1.25", 1_500_000, 140.0, 1.4)]
    timed.append(("2: 1.25", 9, 1.0, 9.0))  # a member of another family
    keys = ("model", "params", "tokens_per_second")
    return {
        "rows": [
            {"what": "prefill", **dict(zip(keys, row[:3], strict=True)), "speedup": {"median": x}}
            for *row, x in timed
        ]
    }


def cells(text: str) -> list[list[str]]:
    """Return the rows of all tables but their heads."""
    return [row for row in rows(text) if row]


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content))


def test_the_table_holds_every_number_beside_the_parents(tmp_path: Path) -> None:
    write(tmp_path, "family.json", family())
    write(tmp_path, "speed.json", speed())
    page, plot = write_family(tmp_path)
    text = page.read_text()
    first, second, *others = cells(text)
    assert first[:3] == ["parent", "2,000,000", "1,000,000"]
    assert first[3:6] == ["20", "60.0 %50.0 %40 questions", "1001.00x"]
    assert second[:3] == ["ratio 1.25", "1,500,00075.0 %", "750,00075.0 %"]
    assert second[3:7] == ["261.3x", "55.0 %50.0 %40 questions", "1401.40x", "Once 1.25 <b>"]
    assert others[0] == ["parent", "Once 1.0 <b>", "A second"]
    said = " ".join(Outline(text).text)
    assert "Perplexity of test.txt: 20,480 tokens read, 20,460 scored, in windows of 1024" in said
    assert "Family of tiny.gguf" in said
    assert "http" not in text
    # the plot names its points, and the file stands alone
    drawn = plot.read_text()
    for svg in (text, drawn):
        assert {"ratio 1.25", "parent", "bo$ol&lt;q&gt;$"} <= set(
            re.findall(r">([^<>]+)</text>", svg)
        )
    assert drawn.startswith("<svg")


def test_what_was_not_measured_has_no_column() -> None:
    found = family()
    for row in found["rows"]:
        del row["zero_shot"], row["samples"]
    found["rows"][1]["perplexity"] = float("inf")  # and no place in the plot
    first, second, *_ = cells(family_page(found))
    assert first == ["parent", "2,000,000", "1,000,000", "20"]
    assert second[3] == "infinfx"


def test_a_folder_without_a_family_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"family\.json: no family yet; run `ms-eff compress`"):
        write_family(tmp_path)
    write(tmp_path, "family.json", [])
    with pytest.raises(ConfigError, match="damaged"):
        write_family(tmp_path)
    write(tmp_path, "family.json", family())
    write(tmp_path, "speed.json", {"rows": [{"model": "0: a"}]})
    with pytest.raises(ConfigError, match=r"speed\.json: not of .*language_speed"):
        write_family(tmp_path)


def config(folder: Path) -> Path:
    content = {
        "output": str(folder),
        "parent": {"path": "p"},
        "evaluation": {"files": ["t.txt"]},
        "methods": [{"progressive": {"ratios": [1.25], "rule": "plain"}}],
    }
    path = folder / "family.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_command_reports_a_family(call: Any, tmp_path: Path) -> None:
    path = config(tmp_path)
    code, _, told = call("report", path)
    assert (code, "run `ms-eff compress` first" in told) == (2, True)
    write(tmp_path, "family.json", family())
    code, said, told = call("report", path)
    assert code == 0, told
    assert "ratio 1.25" in said
    assert "55.0 %" in said
    assert f"report: {tmp_path / 'report.html'}" in said
    assert (tmp_path / "size_perplexity.svg").exists()


def test_compressing_does_not_fail_for_want_of_a_plot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ms_eff import cli

    write(tmp_path, "family.json", family())
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    cli._drawn(tmp_path)
    assert "no report: matplotlib" in capsys.readouterr().out
