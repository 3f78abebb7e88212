from __future__ import annotations

import json
import statistics

import pytest

from ms_eff.bench.swiftlearn_sizes import KIND
from ms_eff.report import swiftlearn_policies
from ms_eff.report.selection import pictures, seconds_saved


def _row(policy, keep, seed, test, seconds, compiling=10.0):
    return {
        "task": "sst2", "seed": seed, "policy": policy, "keep": keep, "dev_accuracy": test - 0.01,
        "test_accuracy": test, "train_samples": 1000, "samples_trained": round(1000 * keep),
        "seconds": seconds, "compile_seconds": compiling,
    }  # fmt: skip


@pytest.fixture
def results():
    rows = [
        row
        for seed, base in ((1, 0.90), (2, 0.92))
        for row in (
            _row("full", 1.0, seed, base, 1010.0),
            _row("random fresh", 0.1, seed, base - 0.001, 290.0),
            _row("swiftlearn topk", 0.1, seed, base - 0.015, 300.0),
        )
    ]
    call = {"device": "CPU", "cores": 2, "versions": {}, "date": "2026-01-01T00:00:00"}
    settings = {"task": "sst2", "epochs": 10, "batch_size": 32, "seeds": [1, 2]}
    return {"format": KIND.format, "settings": settings, "calls": [call], "rows": rows}


def test_table_gives_means_gaps_and_speed_ups_seed_by_seed(results):
    text = swiftlearn_policies.markdown(results)
    row = next(line for line in text.splitlines() if line.startswith("| swiftlearn topk"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[3] == f"89.50 ± {statistics.stdev([88.5, 90.5]):.2f}"
    assert cells[4] == "-1.50 ± 0.00"
    assert cells[6] == "3.37 ± 0.00"  # 1010 / 300
    assert cells[7] == "3.45 ± 0.00"  # 1000 / 290
    assert cells[8] == "3.57"
    assert cells[10] == "3.35x, 91.5 (BERT)"
    assert text.splitlines()[2].startswith("| full")


def test_it_says_where_a_random_subset_does_as_well(results):
    text = swiftlearn_policies.markdown(results)
    assert "target 3.36: met" in text
    assert "at most 0.92 lost: NOT met" in text
    assert "random fresh does as well or better" in text


def test_the_command_prints_the_table_and_draws_the_plot(results, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(results))
    assert swiftlearn_policies.main([str(path)]) == 0
    assert capsys.readouterr().out == swiftlearn_policies.markdown(results)
    svg = (tmp_path / "rows.svg").read_text()
    assert "swiftlearn topk" in svg
    assert "keep 0.1" in svg
    assert swiftlearn_policies.main([str(tmp_path / "none.json")]) == 2


def test_seconds_saved_need_a_warm_up_epoch_that_did_not_compile():
    curve = [{"seconds": s} for s in (30.0, 40.0, 41.0, 42.0)]
    assert seconds_saved(curve, 2) == (10 - 1) + (10 - 1)
    assert seconds_saved(curve, 1) is None
    assert seconds_saved(curve[:2], 2) is None


def test_a_picture_that_is_no_base64_is_left_out():
    assert pictures([{"png": '"/><script>', "class": "a"}]) is None
    found = pictures([{"png": "iVBORw0KGgo=", "class": "<b>"}])
    assert "base64,iVBORw0KGgo=" in found
    assert "&lt;b&gt;" in found
