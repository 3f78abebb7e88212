from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ms_eff.bench.accuracy_sizes import KIND
from ms_eff.report.lowrank_accuracy import main, markdown, plot

ACCURACY = {
    "dense": (0.60, 0.62),
    "continued": (0.61, 0.64),
    "vanilla": (0.60, 0.61),
    "sequential freezing": (0.58, 0.60),
}


def row(variant: str, seed: int, **changes: Any) -> dict[str, Any]:
    known = variant in ACCURACY
    return {
        "model": "resnet18",
        "width": 16,
        "seed": seed,
        "variant": variant,
        "train_images": 5000,
        "start": f"{seed}",
        "accuracy_before": None if variant == "dense" else 0.3,
        "accuracy": ACCURACY[variant][seed] if known else None,
        "loss": 1.0,
        "test_images": 1000,
        "params": 1000 if variant in ("dense", "continued") else 501 + seed,
        "macs": 35_000_000,
        "decomposed": 17 + seed,
        "whole": 4 - seed,
        "epochs": 4,
        "seconds": 30.0 + 2 * seed,
        "steady_seconds": 24.0,
        "wall_seconds": 60.0,
        "note": "" if known else "nothing to merge",
        "call": 0,
        **changes,
    }


def results(rows: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    if rows is None:
        rows = [row(variant, seed) for seed in (0, 1) for variant in (*ACCURACY, "merging")]
    call = {"device": "a CPU", "cores": 2, "versions": {"mindspore": "2.9.0"},
            "date": "2026-01-02T03:04:05", "command": "x"}  # fmt: skip
    settings = {"data": "cifar10", "batch_size": 64, "pretrain_epochs": 10, "fine_tune_epochs": 4}
    return {"format": KIND.format, "settings": settings, "calls": [call], "rows": rows}


def table(text: str) -> dict[str, dict[str, str]]:
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {cells[1]: dict(zip(lines[0], cells, strict=True)) for cells in lines[1:]}


def test_cells_are_means_and_deviations_over_the_seeds() -> None:
    found = table(markdown(results()))
    assert list(found) == [*ACCURACY, "merging"]
    for variant, values in ACCURACY.items():
        percents = [100 * value for value in values]
        mean, spread = statistics.mean(percents), statistics.stdev(percents)
        assert found[variant]["accuracy, %"] == f"{mean:.2f} ± {spread:.2f}"
    vanilla = found["vanilla"]
    # seed by seed: -1 and -3 points
    assert vanilla["against continued"] == f"-2.00 ± {statistics.stdev([1, 3]):.2f}"
    assert vanilla["layers decomposed"] == "17 to 18 of 21"
    assert vanilla["parameters"] == "501 to 502"
    assert vanilla["training seconds"] == "31 ± 1"
    assert vanilla["papers, ImageNet"] == "+0.54 (resnet50), -0.43 (resnet101)"
    assert found["continued"]["parameters"] == "1,000"
    assert found["dense"]["before, %"] == "–"  # noqa: RUF001


def test_what_does_not_apply_is_said_with_its_reason() -> None:
    text = markdown(results())
    assert table(text)["merging"]["layers decomposed"] == "does not apply"
    assert "- resnet18, width 16, merging (seed 0, 1): nothing to merge" in text
    assert "10 minutes on a CPU, 2 cores" in text


@pytest.mark.parametrize(("gap", "words"), [(0.009, "within"), (0.011, "NOT within")])
def test_sequential_freezing_is_held_to_a_point(gap: float, words: str) -> None:
    rows = [row("vanilla", 0), row("sequential freezing", 0, accuracy=0.60 - gap)]
    assert f"-{100 * gap:.2f} points: {words} 1 point" in markdown(results(rows))


def test_seconds_of_a_step_timed_apart_take_the_place_of_the_runs() -> None:
    timing = {"steps": {"resnet18": {"vanilla": {"median_ms": 50.0}}}}
    text = markdown(results(), timing)
    found = table(text)
    # 4 epochs of 78 whole batches of 64
    assert found["vanilla"]["training seconds"] == "16"
    assert found["continued"]["training seconds"] == "31 ± 1"
    assert "timed apart, in turns, with nothing else" in text


def test_one_seed_has_no_deviation() -> None:
    found = table(markdown(results([row("vanilla", 0, steady_seconds=None)])))["vanilla"]
    assert found["accuracy, %"] == "60.00"
    assert found["against continued"] == "–"  # noqa: RUF001


def test_the_plot_is_a_small_file_that_is_the_same_every_time() -> None:
    rows = results()["rows"]
    rows += [{**one, "model": "resnet50", "width": 8} for one in rows]
    text = plot(results(rows))
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "currentColor" not in text
    words = re.findall(r">([^<>]+)</text>", text)
    assert {"sequential freezing", "resnet50, width 8", "seconds of fine-tuning"} <= set(words)
    assert "merging" not in words
    assert len(text) < 60_000
    assert text == plot(results(rows))


def test_the_command_prints_the_table_and_writes_the_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(results()))
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == markdown(results())
    assert path.with_suffix(".svg").read_text() == plot(results())
    assert main([str(tmp_path / "none.json")]) == 2
    assert "none.json: cannot be read" in capsys.readouterr().err
