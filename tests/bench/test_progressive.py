"""The training-free table at its smallest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ms_eff.bench import progressive
from ms_eff.bench.progressive_cells import CELLS
from ms_eff.methods.progressive.core import block_shapes
from ms_eff.models.parents import open_parent
from ms_eff.train.interrupt import lock_folder
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
        *("--rules", "activation_aware", "asvd", "--removed", "0.4", "--twice", "--in-order"),
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
    more = [*call, "0.2", "--twice", "0.3", "--allocations", "uniform"]
    assert progressive.main(more) == 0
    ordered, again = json.loads(output.read_text())["rows"][-2:]
    for row, kind in (
        (ordered, ("activation_aware_in_order", "uniform", 0.2)),
        (again, ("two_sided_twice", "global", 0.3)),
    ):
        assert (row["rule"], row["allocation"], row["removed"]) == kind
    assert ordered["block_params"] <= 0.8 * dense
    assert again["block_params"] <= 0.7 * dense
    by_gradient = ["--rules", "activation_aware", "--allocations", "global_gradient"]
    assert progressive.main([*call, *by_gradient]) == 0
    again = json.loads(output.read_text())["rows"][-1]
    assert (again["allocation"], again["removed"]) == ("global_gradient", 0.4)
    assert again["block_params"] <= 0.6 * dense
    assert progressive.main([*call, "--text", str(tmp_path / "none.txt")]) == 2
    assert "none.txt" in capsys.readouterr().err


def test_other_text_or_weights_under_the_same_names_are_refused(
    parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(parent, tmp_path / "parent"))
    text, output = copy / "text.txt", tmp_path / "rows.json"
    call = [
        *("--parent", str(copy), "--output", str(output), "--work", str(tmp_path / "work")),
        *("--text", str(text), "--tokens", "64", "--window", "16"),
        *("--calibration", str(parent / "text.txt"), "--calibration-tokens", "64"),
        *("--removed", "0.4", "--twice", "--in-order"),
    ]
    rows = [
        {"rule": rule, "allocation": allocation, "removed": removed, "perplexity": 1.0}
        for rule, allocation, removed in (("dense", "", 0.0), *((*c, 0.4) for c in CELLS))
    ]
    bench = progressive._Bench(progressive._parser().parse_args(call), "", lambda line: None)
    for row in rows:  # as if all were measured
        bench.rows.add(row)
    assert progressive.main(call) == 0
    words = text.read_text().split()
    text.write_text(" ".join(["w9", *words[1:]]))
    assert progressive.main(call) == 2
    assert "text_digest" in capsys.readouterr().err
    text.write_text(" ".join(words))
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    assert progressive.main(call) == 2
    assert "parent_digest" in capsys.readouterr().err
    with lock_folder(tmp_path / "work"):
        assert progressive.main(call) == 2
    assert "another run is writing here" in capsys.readouterr().err
