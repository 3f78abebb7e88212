"""The accuracy experiment on ViTs as Markdown tables and plots, from its rows alone.

`python -m ms_eff.report.vit_accuracy results/vit_accuracy_cifar10.json` prints a table for each
method and writes the plots beside the rows, as `NAME_gqkva.svg` and `NAME_skipvit.svg`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ms_eff.bench.rows import read_rows
from ms_eff.bench.vit_accuracy_sizes import KIND, VARIANTS
from ms_eff.errors import SetupError, UserError
from ms_eff.files import read_json, replacing
from ms_eff.report.drawing import legend, name_axes, panels, style, svg_file
from ms_eff.report.numbers import MISSING, deviation, exact, mean, short, span

__all__ = ["METHODS", "main", "markdown", "plot", "timed"]

Row = Mapping[str, Any]

METHODS = ("gqkva", "skipvit")
_DENSE = "dense (MHA)"
# changes of ImageNet top-1 in points: arXiv:2311.03426, ViT-small with 6 heads; 2401.15293
PAPER = {
    "GKVA-3": "+0.28",
    "GQA-3": "-0.12",
    "MQA": "-1.33",
    "MKVA": "-0.04",
    "GQKVA-2.3": "-0.87",
    "SkipViT": "at the baseline's level",
}
_COLUMNS = (
    "variant", "parameters", "MACs", "accuracy, %", "against dense", "seconds an epoch",
    "throughput, %", "ideal, %", "paper, ImageNet",
)  # fmt: skip
_WALL = "Seconds are those of training, the median over the later half of the epochs."
_MERGING = "ToMe merges patches in every block, as many as bring its work closest to SkipViT's. "
_ALONE = (
    "Seconds are steps times the median training step, timed apart, in turns, with nothing else on "
    "the machine."
)


def markdown(
    results: Mapping[str, Any], method: str, timing: Mapping[str, Any] | None = None
) -> str:
    """Return a method's table, and below it what it was measured on.

    Args:
        results: `settings`, `calls` and `rows` of `ms_eff.bench.vit_accuracy`.
        method: one of `METHODS`.
        timing: of `ms_eff.bench.vit_accuracy_timing`: seconds an epoch then are steps times the
            step's median on a machine left alone, in place of what the runs took.
    """
    rows = timed(results, timing)
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * len(_COLUMNS)}",
        *(f"| {' | '.join(_cells(rows, variant))} |" for variant in _variants(rows, method)),
        "",
        _about(results, timing),
    ]
    return "\n".join(lines) + "\n"


def plot(results: Mapping[str, Any], method: str, timing: Mapping[str, Any] | None = None) -> str:
    """Return an SVG file: a method's accuracy over parameters and over seconds an epoch.

    Bars reach one standard deviation over the seeds.

    Raises:
        SetupError: matplotlib is not installed.
    """
    rows = timed(results, timing)
    # skipping changes no parameters
    kinds = [("seconds an epoch", "epoch_seconds", 1.0)]
    if method == "gqkva":
        kinds.insert(0, ("parameters, thousands", "params", 1e3))
    figure, axes = panels(len(kinds))
    for axis, (label, column, unit) in zip(axes, kinds, strict=True):
        for index, variant in enumerate(_variants(rows, method)):
            found = _of(rows, variant)
            heights = [100 * row["accuracy"] for row in found]
            at = [row[column] / unit for row in found]
            axis.errorbar(
                [statistics.fmean(at)], [statistics.fmean(heights)], xerr=deviation(at),
                yerr=deviation(heights), capsize=3, **style(index), label=variant,
            )  # fmt: skip
        axis.margins(0.15, 0.2)
        name_axes(axis, label, "test accuracy, %")
    # two names fit above one panel
    legend(figure, axes, columns=1 + len(kinds))
    return svg_file(figure)


def timed(results: Mapping[str, Any], timing: Mapping[str, Any] | None) -> list[Row]:
    """Return the rows with the seconds an epoch that a timing gives them.

    Args:
        results: as `markdown` takes them.
        timing: likewise.
    """
    if timing is None:
        return list(results["rows"])
    found: list[Row] = []
    for row in results["rows"]:
        steps = row["train_images"] // results["settings"]["batch_size"]
        step = timing["steps"].get(row["variant"])
        seconds = row["epoch_seconds"] if step is None else steps * step["median_ms"] / 1000
        found.append({**row, "epoch_seconds": seconds})
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables and write the plots; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m ms_eff.report.vit_accuracy", description=__doc__
    )
    parser.add_argument("rows", type=Path, help="JSON of `python -m ms_eff.bench.vit_accuracy`")
    path = parser.parse_args(arguments).rows
    try:
        results = read_rows(path, KIND)
        beside = path.with_name(f"{path.stem}_time.json")
        timing = read_json(beside, SetupError) if beside.exists() else None
        for method in METHODS:
            with replacing(path.with_name(f"{path.stem}_{method}.svg"), SetupError) as temporary:
                temporary.write_text(plot(results, method, timing), encoding="utf-8")
    except UserError as error:
        print(f"vit_accuracy: {error}", file=sys.stderr)
        return 2
    print("\n".join(markdown(results, method, timing) for method in METHODS), end="")
    return 0


def _variants(rows: Iterable[Row], method: str) -> list[str]:
    """Return the method's variants, its rivals and the dense network, in the table's order."""
    there = {row["variant"] for row in rows}
    return [
        name
        for name, variant in VARIANTS.items()
        if name in there
        and (
            name == _DENSE
            or getattr(variant, method) is not None
            or (method == "skipvit" and variant.tome)
        )
    ]


def _cells(rows: Sequence[Row], variant: str) -> list[str]:
    found = _of(rows, variant)
    pairs = [] if variant == _DENSE else _pairs(found, rows)
    ideal = found[0]["ideal_gain"]
    return [
        variant,
        span([row["params"] for row in found], exact),
        span([row["macs"] for row in found], short),
        mean([100 * row["accuracy"] for row in found], 2),
        mean([100 * (row["accuracy"] - dense["accuracy"]) for row, dense in pairs], 2, sign="+"),
        mean([row["epoch_seconds"] for row in found], 1),
        mean([100 * (dense["epoch_seconds"] / row["epoch_seconds"] - 1) for row, dense in pairs],
             0, sign="+"),
        MISSING if ideal is None else f"{100 * ideal:+.0f}",
        PAPER.get(variant, MISSING),
    ]  # fmt: skip


def _about(results: Mapping[str, Any], timing: Mapping[str, Any] | None) -> str:
    """Say in one paragraph what the table was measured on."""
    rows, calls, settings = results["rows"], results["calls"], results["settings"]
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(row["seed"] for row in rows))
    minutes = sum(row["wall_seconds"] for row in rows) / 60
    first = calls[0]
    cores = f", {first['cores']} core{'s' * (first['cores'] > 1)}" if first["cores"] else ""
    return (
        f"{settings['data']}; ViT with patch 4, width {settings['dim']}, depth "
        f"{settings['depth']}, {settings['heads']} heads; "
        f"{span([row['train_images'] for row in rows], exact)} training and "
        f"{span([row['test_images'] for row in rows], exact)} test images, batch "
        f"{settings['batch_size']}, {settings['epochs']} epochs from scratch for every variant, "
        f"with the same schedule and order of the data; seeds {seeds}: mean ± standard deviation. "
        f"Gaps, in points, and throughput are taken against the dense network of the same seed. "
        f"Where patches are dropped, 55 % of them skip {_blocks(settings)}. "
        f"{_MERGING if any(row['variant'] == 'ToMe' for row in rows) else ''}"
        f"{_WALL if timing is None else _ALONE} All of it took "
        f"{minutes:.0f} minutes on {first['device']}{cores}, MindSpore "
        f"{first['versions'].get('mindspore', MISSING)}, {first['date'][:10]}."
    )


def _blocks(settings: Mapping[str, Any]) -> str:
    count = settings["reduced"]
    return f"{count} block{'s' * (count > 1)} of {settings['depth']}"


def _of(rows: Iterable[Row], variant: str) -> list[Row]:
    return [row for row in rows if row["variant"] == variant]


def _pairs(found: Iterable[Row], rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Return each row with the dense network's of its seed."""
    dense = {row["seed"]: row for row in _of(rows, _DENSE)}
    return [(row, dense[row["seed"]]) for row in found if row["seed"] in dense]


if __name__ == "__main__":
    sys.exit(main())
