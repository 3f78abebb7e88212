"""The small-data experiment as a Markdown table beside the paper's, from its rows alone."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ms_eff.bench.rows import read_rows
from ms_eff.bench.small_data import KIND
from ms_eff.errors import UserError
from ms_eff.report.numbers import MISSING

__all__ = ["PAPER", "main", "markdown"]

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
    rows = results["rows"]
    groups = {
        name: [row for row in rows if row["recipe"] == name]
        for name in dict.fromkeys(row["recipe"] for row in rows)
    }
    settings = results["settings"]
    device = results["calls"][-1]["device"] if results["calls"] else "unknown device"
    about = f"{settings['data']}, {settings['seconds']:g} seconds each, {device}. "
    return "\n".join(
        [
            f"| {' | '.join(_COLUMNS)} |",
            f"|{'---|' * len(_COLUMNS)}",
            *(f"| {' | '.join(_cells(name, group))} |" for name, group in groups.items()),
            "",
            about + "Accuracy: mean and, over several seeds, standard deviation.",
            "",
            *(f"- {line}" for line in _verdicts(groups)),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of a file; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m ms_eff.report.small_data", description=__doc__)
    parser.add_argument("rows", type=Path, help="what ms_eff.bench.small_data wrote")
    options = parser.parse_args(arguments)
    try:
        print(markdown(read_rows(options.rows, KIND)))
    except UserError as error:
        print(f"small_data: {error}", file=sys.stderr)
        return 2
    return 0


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
