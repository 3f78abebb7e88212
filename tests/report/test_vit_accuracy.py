from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from ms_eff.bench.vit_accuracy_sizes import KIND
from ms_eff.report.vit_accuracy import main, markdown, plot

ACCURACY = {"dense (MHA)": (0.50, 0.54), "SkipViT": (0.49, 0.52), "GKVA-3": (0.51, 0.56)}


def results() -> dict[str, Any]:
    rows = [
        {
            "seed": seed,
            "variant": variant,
            "train_images": 5000,
            "test_images": 2000,
            "accuracy": values[seed],
            "loss": 1.0,
            "params": 601 if variant == "GKVA-3" else 1001,
            "macs": 48_000_000,
            "ideal_gain": 0.16 if variant == "SkipViT" else None,
            "epochs": 10,
            "seconds": 100.0,
            "epoch_seconds": 8.0 if variant == "SkipViT" else 10.0,
            "wall_seconds": 90.0,
            "call": 0,
        }
        for seed in (0, 1)
        for variant, values in ACCURACY.items()
    ]
    call = {"device": "a CPU", "cores": 2, "versions": {"mindspore": "2.9.0"},
            "date": "2026-01-02T03:04:05", "command": "x"}  # fmt: skip
    settings = {"data": "cifar10", "dim": 96, "depth": 6, "heads": 6, "reduced": 3,
                "batch_size": 64, "epochs": 10}  # fmt: skip
    return {"format": KIND.format, "settings": settings, "calls": [call], "rows": rows}


def table(text: str) -> dict[str, dict[str, str]]:
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0]: dict(zip(lines[0], cells, strict=True)) for cells in lines[1:]}


def test_each_method_has_its_rows_and_the_dense_one() -> None:
    skipping, grouped = table(markdown(results(), "skipvit")), table(markdown(results(), "gqkva"))
    assert list(skipping) == ["dense (MHA)", "SkipViT"]
    assert list(grouped) == ["dense (MHA)", "GKVA-3"]
    found = skipping["SkipViT"]
    # seed by seed: -1 and -2 points
    assert found["against dense"] == f"-1.50 ± {statistics.stdev([1, 2]):.2f}"
    assert found["throughput, %"] == "+25 ± 0"
    assert found["ideal, %"] == "+16"
    assert grouped["GKVA-3"]["parameters"] == "601"
    assert grouped["GKVA-3"]["paper, ImageNet"] == "+0.28"
    assert "9 minutes on a CPU, 2 cores" in markdown(results(), "gqkva")


def test_a_rival_of_skipping_stands_beside_it() -> None:
    found = results()
    found["rows"] += [
        {**row, "variant": "ToMe"} for row in found["rows"] if row["variant"] == "SkipViT"
    ]
    assert list(table(markdown(found, "skipvit"))) == ["dense (MHA)", "SkipViT", "ToMe"]
    assert "ToMe" not in table(markdown(found, "gqkva"))
    assert "as many as bring its work closest" in markdown(found, "skipvit")
    assert "as many as bring its work closest" not in markdown(results(), "skipvit")


def test_seconds_timed_apart_take_the_place_of_those_of_the_runs() -> None:
    timing = {"steps": {"dense (MHA)": {"median_ms": 100.0}, "SkipViT": {"median_ms": 50.0}}}
    found = table(markdown(results(), "skipvit", timing))
    # 78 whole batches of 64 in 5000 images
    assert found["dense (MHA)"]["seconds an epoch"] == "7.8 ± 0.0"
    assert found["SkipViT"]["throughput, %"] == "+100 ± 0"
    assert "timed apart" in markdown(results(), "skipvit", timing)
    # a variant that nobody timed keeps what its runs took
    assert table(markdown(results(), "gqkva", timing))["GKVA-3"]["seconds an epoch"] == "10.0 ± 0.0"


@pytest.mark.parametrize(("method", "axes"), [("gqkva", 2), ("skipvit", 1)])
def test_the_plot_names_what_the_table_does(method: str, axes: int) -> None:
    text = plot(results(), method)
    words = re.findall(r">([^<>]+)</text>", text)
    assert words.count("test accuracy, %") == axes
    assert set(table(markdown(results(), method))) <= set(words)
    assert text == plot(results(), method)


def test_the_command_prints_both_tables_and_writes_both_plots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(results()))
    assert main([str(path)]) == 0
    both = "\n".join(markdown(results(), method) for method in ("gqkva", "skipvit"))
    assert capsys.readouterr().out == both
    assert (tmp_path / "rows_skipvit.svg").read_text() == plot(results(), "skipvit")
    timing = {"steps": {"SkipViT": {"median_ms": 50.0}}}
    (tmp_path / "rows_time.json").write_text(json.dumps(timing))
    assert main([str(path)]) == 0
    assert markdown(results(), "skipvit", timing) in capsys.readouterr().out
    assert main([str(tmp_path / "none.json")]) == 2
    assert "none.json: cannot be read" in capsys.readouterr().err
