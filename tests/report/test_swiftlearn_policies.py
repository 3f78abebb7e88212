from __future__ import annotations

import itertools
import json
import statistics

import pytest

from ms_eff.bench.swiftlearn_sizes import KIND
from ms_eff.report import swiftlearn_policies
from ms_eff.report.selection import about, pictures, seconds_saved


def _row(policy, keep, seed, test, seconds, compiling=10.0):
    return {
        "task": "sst2", "seed": seed, "policy": policy, "keep": keep, "dev_accuracy": test - 0.01,
        "test_accuracy": test, "train_samples": 1000, "samples_trained": round(1000 * keep),
        "seconds": seconds, "compile_seconds": compiling, "full_epoch_seconds": 100.0,
        "wall_seconds": seconds + 50.0, "network": "minilm_l6", "whole_train_samples": 2000,
        "dev_samples": 1200, "test_samples": 1800,
    }  # fmt: skip


_OPEN = ": within what 2 seeds and the test set leave open, so random fresh does as well"


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
    assert cells[8] == "3.37 ± 0.00"  # at its own pace (10 + 10 x 100) / 300
    assert cells[9] == "3.03 ± 0.00"  # 1060 / 350
    assert cells[10] == "3.57"
    assert cells[12] == "3.35x, 91.5 (BERT)"
    assert text.splitlines()[2].startswith("| full")


def test_it_says_where_a_random_subset_does_as_well(results):
    text = swiftlearn_policies.markdown(results)
    assert "speed-up of 3.36 wanted: 3.37 ± 0.00 of training, met; " in text
    assert "3.03 ± 0.00 by the wall clock, NOT met" in text
    lost = "test -1.50 ± 0.00, NOT met; dev -1.50 ± 0.00, NOT met"
    assert f"less than 0.92 points lost: {lost}" in text
    for row in results["rows"]:
        row["dev_accuracy"] = 0.9
    text = swiftlearn_policies.markdown(results)
    assert "test -1.50 ± 0.00, NOT met; dev +0.00 ± 0.00, met" in text
    assert "random fresh does as well or better" in text


@pytest.mark.parametrize(
    ("gaps", "said"),
    [
        ([-0.3, 0.1], ": random fresh does as well or better"),
        ([3.0, 1.0], _OPEN),  # 2 on average, with a standard error of 1
        ([0.95, 0.9], _OPEN),  # (2 x 0.9 x 0.1 / 1800)^0.5 = 1 point
        ([1.2, 1.0], ""),
        ([0.9], ": one seed, so there is no spread to hold the gap against"),
    ],
)
def test_a_lead_is_held_against_its_spread(results, gaps, said):
    results["rows"] = [
        row
        for seed, gap in enumerate(gaps)
        for row in (
            _row("random fresh", 0.1, seed, 0.9, 290.0),
            _row("swiftlearn topk", 0.1, seed, 0.9 + gap / 100, 300.0),
            _row("swiftlearn sample", 0.1, seed, 0.8, 300.0),
        )
    ]
    text = swiftlearn_policies.markdown(results)
    (line,) = (line for line in text.splitlines() if "topk against random fresh" in line)
    assert line.partition(" points")[2] == said
    (line,) = (line for line in text.splitlines() if "sample against random fresh" in line)
    assert line.endswith("random fresh does as well or better")


def test_a_row_of_another_pace_is_named_and_its_own_epoch_tells_the_speed_up(results):
    slow = results["rows"][2]
    assert (slow["policy"], slow["seed"]) == ("swiftlearn topk", 1)
    assert "pace, so" not in swiftlearn_policies.markdown(results)
    results["rows"][1]["full_epoch_seconds"] = 109.0  # less than a tenth: nothing to speak of
    slow |= {"full_epoch_seconds": 150.0, "seconds": 450.0, "compile_seconds": 15.0}
    text = swiftlearn_policies.markdown(results)
    (line,) = (line for line in text.splitlines() if "pace, so" in line)
    assert line.startswith("- seed 1, swiftlearn topk, keep 0.1: its epoch on everything took +50%")
    cells = next(row for row in text.splitlines() if row.startswith("| swiftlearn topk")).split("|")
    assert cells[7].strip().startswith("2.81")  # the mean of 1010 / 450 and 1010 / 300
    assert cells[9].strip() == "3.37 ± 0.00"  # (15 + 10 x 150) / 450 and (10 + 10 x 100) / 300


def test_the_text_says_what_was_trained_on_how_much(results):
    text = swiftlearn_policies.markdown(results)
    assert "sst2, minilm_l6: 1,000 of 2,000 training samples (50 %), 1,200 dev samples, " in text
    assert "1,800 test samples; 10 epochs" in text
    assert "58 minutes of runs, in one call: CPU, 2 cores, " in text  # 2 x (1060 + 340 + 350) s
    results["calls"].append({**results["calls"][0], "cores": 1})
    assert "in 2 calls: CPU, 2 cores, MindSpore –, 2026-01-01; CPU, 1 core, " in (  # noqa: RUF001
        swiftlearn_policies.markdown(results)
    )
    for row in results["rows"]:
        row |= {"train_samples": 2000, "network": "resnet18, width 16"}
        del row["dev_samples"]
    text = swiftlearn_policies.markdown(results)
    assert "resnet18, width 16: all 2,000 training samples, 1,800 test samples;" in text


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


def test_seconds_saved_by_infobatch_are_measured_by_its_last_epoch():
    curve = [{"seconds": s} for s in itertools.accumulate([12, *[1] * 8, 10])]
    assert seconds_saved(curve, 2, last=1) == 8 * (10 - 1)
    report = {
        "policy": "infobatch", "kept": 3, "samples": 9, "samples_trained": 24, "warmup_epochs": 2,
        "anneal_epochs": 1, "samples_evaluated": 0, "selection_seconds": 0.5,
        "closed_form": {"samples_of_full_training": 90},
    }  # fmt: skip
    stages = {"trained": {"curve": curve}}
    assert "3 of 9 samples in the last epoch on a share." in about(report, stages)
    assert "72 s shorter" in about(report, stages)
    # `anneal_epochs` has its default in the report of every policy: 8 x (1 - 1) + (1 - 10) s
    assert "-9 s shorter" in about({**report, "policy": "random_fresh"}, stages)


def test_a_picture_that_is_no_base64_is_left_out():
    assert pictures([{"png": '"/><script>', "class": "a"}]) is None
    found = pictures([{"png": "iVBORw0KGgo=", "class": "<b>"}])
    assert "base64,iVBORw0KGgo=" in found
    assert "&lt;b&gt;" in found
