from __future__ import annotations

import html
import itertools
import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from ms_eff.bench import (
    criteria,
    progressive,
    progressive_cells,
    small_data,
    swiftlearn_sizes,
    video_sizes,
)
from ms_eff.bench.accuracy_sizes import VARIANTS as LOWRANK
from ms_eff.bench.vit_accuracy_sizes import VARIANTS as VIT
from ms_eff.report.comparison import main, page
from ms_eff.report.families import FAMILIES
from tests.report.test_page import Outline
from tests.report.test_vit_accuracy import results as vit_results

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[2]
CALL = {
    "device": "a CPU", "cores": 2, "versions": {"mindspore": "2.9.0"}, "dirty": True,
    "date": "2026-01-02T03:04:05", "command": "python -m x", "commit": "abcdef0123",
}  # fmt: skip


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content))


def rows(text: str) -> list[list[str]]:
    """Return what stands in the cells of every row of every table."""
    return [
        [html.unescape(re.sub("<[^>]*>", "", cell)) for cell in re.findall("<td.*?</td>", row)]
        for row in re.findall("<tr.*?</tr>", text, re.DOTALL)
    ]


def progressive_results(*perplexities: tuple[str, str, float, float]) -> dict[str, Any]:
    found = [
        {
            "rule": rule,
            "allocation": how,
            "removed": share,
            "block_params": 1e6,
            "perplexity": value,
        }
        for rule, how, share, value in perplexities
    ]
    kind = progressive.KIND.format
    return {"format": kind, "settings": {}, "calls": [CALL], "rows": found}


def test_numbers_are_those_of_the_file_with_their_spread(tmp_path) -> None:
    write(tmp_path, "vit_accuracy_cifar10.json", vit_results())
    text = page(tmp_path)
    found = {row[0]: row for row in rows(text) if row}
    spread = statistics.stdev([49, 52])
    assert found["SkipViT"][1:6] == ["ours", "0, 1", f"50.50 ± {spread:.2f}", "8.00", "48.0"]
    assert found["dense (MHA)"][1:4] == ["reference", "0, 1", "52.00 ± 2.83"]
    assert "GKVA-3" not in found  # no matter of tokens
    assert "Not measured yet: random (random-LTD); plain dropping; ToMe. make bench-vit" in text
    assert found["vit_accuracy_cifar10.json"][1:] == ["x", "a CPU, 2 cores, MindSpore 2.9.0, "
                                                     "2026-01-02", "–"]  # noqa: RUF001  # fmt: skip
    assert "1 of 8 families measured" in text


def test_seconds_that_were_timed_apart_take_the_place_of_the_runs_own(tmp_path) -> None:
    write(tmp_path, "vit_accuracy_cifar10.json", vit_results())
    timing = {"environment": CALL, "steps": {"SkipViT": {"median_ms": 50.0}}}
    write(tmp_path, "vit_accuracy_cifar10_time.json", timing)
    found = [row for row in rows(page(tmp_path)) if row]
    assert next(row for row in found if row[0] == "SkipViT")[4] == "3.90"  # 78 steps
    assert found[-1][1:] == ["python -m x", "a CPU, 2 cores, MindSpore 2.9.0, 2026-01-02",
                             "abcdef0 with changes"]  # fmt: skip


def test_one_run_has_no_spread(tmp_path) -> None:
    content = vit_results()
    content["rows"] = [row for row in content["rows"] if row["seed"] == 0]
    write(tmp_path, "vit_accuracy_cifar10.json", content)
    text = page(tmp_path)
    assert next(row for row in rows(text) if row and row[0] == "SkipViT")[2:4] == ["0", "49.00"]
    assert "±" not in text


def test_a_family_without_a_file_names_the_command_that_makes_it(tmp_path) -> None:
    text = html.unescape(page(tmp_path))
    for family in FAMILIES:
        assert f"Not measured yet: {family.make} writes {family.file}." in text
    assert "<table>" not in text
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {family.make.split()[1] for family in FAMILIES} <= set(targets)


def test_shares_of_one_method_are_rows_and_a_curve(tmp_path) -> None:
    content = progressive_results(
        ("dense", "", 0.0, 20.6), ("two_sided", "global", 0.4, 41.0),
        ("two_sided", "global", 0.1, 21.9), ("plain", "uniform", 0.1, 12345.6),
    )  # fmt: skip
    write(tmp_path, "progressive.json", content)
    text = page(tmp_path)
    kept = [
        row[:5] for row in rows(text) if row and row[-1].startswith(("the par", "SVD", "least"))
    ]
    none = "–"  # noqa: RUF001
    assert kept == [
        ["dense", "reference", "0", none, "20.60"],
        ["plain, uniform", "rival", "0.1", none, "12345.60"],
        ["two_sided, global", "ours", "0.1", none, "21.90"],
        ["two_sided, global", "ours", "0.4", none, "41.00"],
    ]
    (plot,) = re.findall("<figure.*?</figure>", text, re.DOTALL)
    assert plot.count(">two_sided, global<") == 1
    assert "stroke-dasharray" in plot  # a rival


def test_seeds_of_one_network_are_one_row_of_the_criteria(tmp_path) -> None:
    networks = {
        f"net, seed {seed}": {
            "environment": CALL,
            "dense": {"accuracy": 0.6},
            "rows": [{"criterion": "svd", "allocation": "uniform", "ratio": 2.0, "params": 0.5,
                      "accuracy": accuracy}],
        }
        for seed, accuracy in ((0, 0.30), (1, 0.40))
    }  # fmt: skip
    networks["other"] = {"environment": CALL, "dense": {"agreement": 1.0}, "rows": []}
    write(tmp_path, "lowrank_criteria.json", {"networks": networks})
    found = [row[:7] for row in rows(page(tmp_path)) if len(row) == 8]
    spread = statistics.stdev([30, 40])
    assert found == [
        ["net", "dense", "reference", "1", "0, 1", "60.00", "100.0"],
        ["net", "svd, uniform", "rival", "2", "0, 1", f"35.00 ± {spread:.2f}", "50.0"],
        ["other", "dense", "reference", "1", "–", "100.00", "100.0"],  # noqa: RUF001
    ]


def test_a_row_that_found_nothing_is_a_dash(tmp_path) -> None:
    content = vit_results()
    for row in content["rows"]:
        row["accuracy"] = None if row["variant"] == "SkipViT" else row["accuracy"]
    write(tmp_path, "vit_accuracy_cifar10.json", content)
    found = next(row for row in rows(page(tmp_path)) if row and row[0] == "SkipViT")
    assert found[3] == "–"  # noqa: RUF001


def test_the_page_needs_no_network_and_comes_out_alike(tmp_path) -> None:
    write(tmp_path, "vit_accuracy_cifar10.json", vit_results())
    text = page(tmp_path)
    assert "http" not in text
    assert all(address.startswith("#") for address in Outline(text).addresses)
    assert text == page(tmp_path)


def test_recorded_results_make_a_page() -> None:
    found = {row[0]: row for row in rows(page(ROOT / "results")) if row}
    recorded = json.loads((ROOT / "results" / "vit_accuracy_cifar10.json").read_text())["rows"]
    values = [100 * row["accuracy"] for row in recorded if row["variant"] == "SkipViT"]
    expected = f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"
    assert found["SkipViT"][3] == expected


def test_every_contender_is_what_an_experiment_calls_it() -> None:
    criteria_rows = (*itertools.product(criteria.CRITERIA, criteria.ALLOCATIONS), *criteria.RIVALS)
    known = {
        "lowrank_criteria.json": {"dense", *map(", ".join, criteria_rows)},
        "lowrank_accuracy_cifar10.json": set(LOWRANK) - {"dense"},
        "vit_accuracy_cifar10.json": {n for n, v in VIT.items() if v.gqkva is None},
        "swiftlearn_sst2.json": set(swiftlearn_sizes.POLICIES),
        "swiftlearn_cifar10.json": set(swiftlearn_sizes.POLICIES),
        "small_data_cifar10.json": set(small_data.RECIPES),
        "video_accuracy.json": set(video_sizes.ROWS),
        "progressive.json": {
            *("dense", f"{progressive_cells.TWICE}, global"),
            f"{progressive_cells.IN_ORDER}, uniform",
            *map(", ".join, progressive_cells.CELLS),
        },
    }
    assert {family.file: set(family.contenders) for family in FAMILIES} == known


def test_the_command_writes_the_page_and_refuses_in_one_line(tmp_path, capsys) -> None:
    results, output = tmp_path / "results", tmp_path / "new" / "index.html"
    words = ["--results", str(results), "--output", str(output)]
    assert main(words) == 2
    assert "no such folder" in capsys.readouterr().err
    results.mkdir()
    assert main(words) == 0
    assert output.read_text(encoding="utf-8") == page(results)
    for name in ("progressive.json", "lowrank_criteria.json"):
        (results / name).write_text("[]")
        assert main(words) == 2
        said = capsys.readouterr().err
        assert name in said
        assert said.count("\n") == 1
        (results / name).unlink()
