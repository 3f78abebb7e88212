"""The small-data experiment as a Markdown table beside the paper's and a plot, from its rows alone.

`python -m ms_eff.report.small_data results/small_data_cifar10.json` prints the table and draws
accuracy against seconds into `NAME.svg` beside the rows.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ms_eff.bench.rows import read_rows
from ms_eff.bench.small_data import KIND
from ms_eff.errors import SetupError, UserError
from ms_eff.files import replacing
from ms_eff.report.drawing import legend, name_axes, panels, style, svg_file
from ms_eff.report.numbers import MISSING

__all__ = ["PAPER", "main", "markdown", "plot"]

Row = Mapping[str, Any]

# mini-CIFAR-10 of arXiv:2309.03965: accuracy in %, epochs done in ten minutes on a V100
PAPER = {
    "baseline": (76.65, 168),
    "sam": (79.9, 151),
    "sam_ip": (86.6, 200),
    "sam_gc": (83.15, 99),
    "meta": (82.87, 132),
}
_COLUMNS = (
    "recipe", "seeds", "accuracy, %", "epochs", "images/s", "seconds", "paper, % (epochs, V100)",
)  # fmt: skip
_AHEAD = 8.0  # points that the best recipe should lie above the baseline


def markdown(results: Mapping[str, Any]) -> str:
    """Return the table, what it was measured on, and what it says.

    Args:
        results: `settings`, `calls` and `rows` of `ms_eff.bench.small_data`.
    """
    groups = _groups(results["rows"])
    settings = results["settings"]
    device = results["calls"][-1]["device"] if results["calls"] else "unknown device"
    about = f"{settings['data']}, {settings['seconds']:g} seconds each, {device}. "
    about += (
        "Accuracy: mean and, over several seeds, standard deviation. Images/s: over the seconds "
    )
    about += "of training, compilation included, evaluation not."
    if settings.get("test_split", "test") != "test":
        about += " Scored on training images that were held out, not on the test images."
    return "\n".join(
        [
            f"| {' | '.join(_COLUMNS)} |",
            f"|{'---|' * len(_COLUMNS)}",
            *(f"| {' | '.join(_cells(name, group))} |" for name, group in groups.items()),
            "",
            about,
            "",
            *(f"- {line}" for line in _verdicts(groups)),
        ]
    )


def plot(results: Mapping[str, Any]) -> str:
    """Return an SVG file: test accuracy over seconds of training, a line for every run.

    Raises:
        SetupError: matplotlib is not installed.
    """
    figure, axes = panels(1, size=(6.4, 3.6))
    for index, (name, group) in enumerate(_groups(results["rows"]).items()):
        for number, row in enumerate(group):
            seconds = [point["seconds"] for point in row["curve"]]
            accuracy = [100 * point["accuracy"] for point in row["curve"]]
            # one name in the legend for all seeds
            axes[0].plot(seconds, accuracy, **style(index), label="" if number else name)
    name_axes(axes[0], "seconds of training", "test accuracy, %")
    legend(figure, axes)
    return svg_file(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of a file and draw the plot; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m ms_eff.report.small_data", description=__doc__)
    parser.add_argument("rows", type=Path, help="what ms_eff.bench.small_data wrote")
    path = parser.parse_args(arguments).rows
    try:
        results = read_rows(path, KIND)
        with replacing(path.with_suffix(".svg"), SetupError) as temporary:
            temporary.write_text(plot(results), encoding="utf-8")
        print(markdown(results))
    except UserError as error:
        print(f"small_data: {error}", file=sys.stderr)
        return 2
    return 0


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows by recipe, in the order in which recipes first come."""
    names = dict.fromkeys(row["recipe"] for row in rows)
    return {name: [row for row in rows if row["recipe"] == name] for name in names}


def _cells(name: str, group: Sequence[Row]) -> list[str]:
    def mean(key: str) -> float:
        return statistics.fmean(row[key] for row in group)

    accuracies = [100 * row["accuracy"] for row in group]
    spread = f" ± {statistics.stdev(accuracies):.2f}" if len(group) > 1 else ""
    paper = "{} ({})".format(*PAPER[name]) if name in PAPER else MISSING
    return [
        name,
        str(len(group)),
        f"{statistics.fmean(accuracies):.2f}{spread}",
        f"{mean('epochs'):.1f}",
        f"{mean('images_per_second'):.0f}",
        f"{mean('seconds'):.0f}",
        paper,
    ]


def _verdicts(groups: Mapping[str, Sequence[Row]]) -> list[str]:
    means = {
        name: 100 * statistics.fmean(row["accuracy"] for row in group)
        for name, group in groups.items()
    }
    lines = []
    if "best" in means:
        bound = PAPER["baseline"][0]
        met = "reached" if means["best"] >= bound else "not reached"
        lines.append(f"the paper's baseline on a V100, {bound} %: {met} by best")
    if {"best", "baseline"} <= means.keys():
        ahead = means["best"] - means["baseline"]
        met = "as wanted" if ahead >= _AHEAD else f"{_AHEAD:g} were wanted"
        lines.append(f"best lies {ahead:+.2f} points from the baseline; {met}")
    found = sorted((name for name in means if name in PAPER), key=lambda n: means[n])
    if len(found) > 1:
        published = sorted(found, key=lambda name: PAPER[name][0])
        lines.append(f"order as found: {' < '.join(found)}; in the paper: {' < '.join(published)}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
