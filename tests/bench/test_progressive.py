"""The training-free table at its smallest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ms_eff.bench import progressive
from ms_eff.methods.progressive.core import block_shapes
from ms_eff.models.parents import open_parent
from tests.methods.progressive.conftest import parent

__all__ = ["parent"]  # the fixture


@pytest.mark.gate
def test_rows_are_measured_once_and_shown(
    parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.json"
    call = [
        *("--parent", str(parent), "--output", str(output), "--work", str(tmp_path / "work")),
        *("--text", str(parent / "text.txt"), "--tokens", "64", "--window", "16"),
        *("--calibration", str(parent / "text.txt"), "--calibration-tokens", "64"),
        *("--rules", "activation_aware", "asvd", "--removed", "0.4", "--twice"),
    ]
    assert progressive.main([*call, "--allocations", "uniform"]) == 0
    rows = json.loads(output.read_text())["rows"]
    kinds = [(r["rule"], r["removed"]) for r in rows]
    assert kinds == [("dense", 0), ("activation_aware", 0.4), ("asvd", 0.4)]
    dense = sum(S * C for S, C in block_shapes(open_parent(parent).shape).values())
    assert rows[0]["block_params"] == dense
    assert rows[1]["block_params"] == rows[2]["block_params"] <= 0.6 * dense
    assert rows[1]["perplexity"] != rows[2]["perplexity"]
    assert rows[0]["perplexity"] < rows[1]["perplexity"]
    assert progressive.main([*call, "--allocations", "uniform"]) == 0
    assert json.loads(output.read_text())["rows"] == rows
    assert f"{rows[1]['perplexity']:.1f} [95.9]" in capsys.readouterr().out
    assert progressive.main([*call, "0.3", "--allocations", "uniform"]) == 0
    again = json.loads(output.read_text())["rows"][-1]
    assert (again["rule"], again["allocation"], again["removed"]) == (
        *("two_sided_twice", "global"),
        0.3,
    )
    assert again["block_params"] <= 0.7 * dense
    assert progressive.main([*call, "--text", str(tmp_path / "none.txt")]) == 2
    assert "none.txt" in capsys.readouterr().err
