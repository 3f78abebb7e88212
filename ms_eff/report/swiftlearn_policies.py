"""The data selection experiment as a Markdown table and a plot, from its rows alone.

`python -m ms_eff.report.swiftlearn_policies results/swiftlearn_sst2.json` prints the table and
writes the plot beside the rows, as `.svg`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from ms_eff.bench.rows import read_rows
from ms_eff.bench.swiftlearn_sizes import FULL, KIND, POLICIES, WARMUP
from ms_eff.errors import SetupError, UserError
from ms_eff.files import replacing
from ms_eff.methods.swiftlearn.core import ideal_speed_up
from ms_eff.report.calls import where
from ms_eff.report.drawing import legend, name_axes, panels, style, svg_file
from ms_eff.report.numbers import MISSING, deviation, exact, mean, percent

__all__ = ["main", "markdown", "plot"]

Row = Mapping[str, Any]

# arXiv:2311.15134, BERT on SST-2: keep -> (speed-up, accuracy); 87.5 on everything
PAPER = {"sst2": {1.0: (1.0, 87.5), 0.3: (2.20, 91.6), 0.1: (3.35, 91.5)}}
# arXiv:2303.04947, ResNet-18 on CIFAR-10, 95.6 on everything
INFOBATCH = {"cifar10": {0.5: 95.1, 0.3: 94.7}}
# what is asked of SwiftLearn on SST-2: keep -> least speed-up; and the most points it may lose
TARGETS, MOST_LOST = {0.1: 3.36, 0.3: 2.16}, 0.92
_OURS = ("swiftlearn topk", "swiftlearn sample")
# by how much an epoch on everything may differ from that of the full row before it is said
_PACE = 0.1

_COLUMNS = (
    "policy", "keep", "dev, %", "test, %", "against full", "seconds", "speed-up",
    "without compiling", "own pace", "wall clock", "ideal", "samples trained", "papers",
)  # fmt: skip


def markdown(results: Mapping[str, Any]) -> str:
    """Return the table, and below it what it was measured on and what it says."""
    rows, settings = results["rows"], results["settings"]
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * len(_COLUMNS)}",
        *(f"| {' | '.join(_cells(rows, settings, *key))} |" for key in _keys(rows)),
        "",
        _about(results),
        "",
        *(f"- {line}" for line in (*_verdicts(rows, settings), *_paces(rows))),
    ]
    return "\n".join(lines).rstrip() + "\n"


def plot(results: Mapping[str, Any]) -> str:
    """Return an SVG file: test accuracy over speed-up, one panel a share to keep.

    Bars reach one standard deviation over the seeds; the dotted line is full training.

    Raises:
        SetupError: matplotlib is not installed.
    """
    rows = results["rows"]
    keeps = sorted({row["keep"] for row in rows if row["policy"] != FULL})
    figure, axes = panels(max(len(keeps), 1))
    full = [100 * row["test_accuracy"] for row in _of(rows, FULL, 1.0)]
    for axis, keep in zip(axes, keeps, strict=False):
        if full:
            axis.axhline(statistics.fmean(full), linestyle=":", color="#7d8597", label=FULL)
        for index, policy in enumerate(p for p in POLICIES if p != FULL):
            found = _of(rows, policy, keep)
            gains = _speed_ups(found, rows, _seconds)
            if not gains:
                continue
            heights = [100 * row["test_accuracy"] for row in found]
            axis.errorbar(
                [statistics.fmean(gains)],
                [statistics.fmean(heights)],
                yerr=deviation(heights),
                capsize=3,
                **style(index),
                label=policy,
            )
        axis.margins(0.2, 0.2)
        name_axes(axis, "speed-up of training", "test accuracy, %", f"keep {keep:g}")
    legend(figure, axes, columns=3)
    return svg_file(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and write the plot; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m ms_eff.report.swiftlearn_policies", description=__doc__
    )
    parser.add_argument("rows", type=Path, help="JSON of `python -m ms_eff.bench.swiftlearn`")
    options = parser.parse_args(arguments)
    try:
        results = read_rows(options.rows, KIND)
        with replacing(options.rows.with_suffix(".svg"), SetupError) as temporary:
            temporary.write_text(plot(results), encoding="utf-8")
    except UserError as error:
        print(f"swiftlearn_policies: {error}", file=sys.stderr)
        return 2
    print(markdown(results), end="")
    return 0


def _keys(rows: Sequence[Row]) -> list[tuple[str, float]]:
    """Return (policy, keep) of all rows: full first, then by what is kept, in order."""
    there = {(row["policy"], row["keep"]) for row in rows}
    order = list(POLICIES)
    return sorted(there, key=lambda key: (key[0] != FULL, key[1], order.index(key[0])))


def _of(rows: Sequence[Row], policy: str, keep: float) -> list[Row]:
    return [row for row in rows if (row["policy"], row["keep"]) == (policy, keep)]


def _cells(rows: Sequence[Row], settings: Mapping[str, Any], policy: str, keep: float) -> list[str]:
    found = _of(rows, policy, keep)
    is_full = policy == FULL
    ideal = 1.0 if is_full else ideal_speed_up(settings["epochs"], keep, WARMUP)
    return [
        policy,
        f"{keep:g}",
        mean([100 * row["dev_accuracy"] for row in found if "dev_accuracy" in row], 2),
        mean([100 * row["test_accuracy"] for row in found], 2),
        MISSING if is_full else mean(_gaps(found, rows), 2, sign="+"),
        mean([row["seconds"] for row in found], 0),
        mean(_speed_ups(found, rows, _seconds), 2),
        mean(_speed_ups(found, rows, _steady), 2),
        mean([_by_own_pace(row, settings["epochs"]) for row in found], 2),
        mean(_speed_ups(found, rows, _wall), 2),
        f"{ideal:.2f}",
        exact(found[0]["samples_trained"]),
        _paper(str(settings["task"]), policy, keep),
    ]


def _paper(task: str, policy: str, keep: float) -> str:
    """Return what was published for a row of this kind, on other models and machines."""
    if policy in (FULL, "swiftlearn topk") and keep in PAPER.get(task, {}):
        gain, accuracy = PAPER[task][keep]
        return f"{gain:g}x, {accuracy:g} (BERT)"
    if policy == "infobatch" and keep in INFOBATCH.get(task, {}):
        return f"{INFOBATCH[task][keep]:g} of 95.6"
    return MISSING


def _seconds(row: Row) -> float:
    return float(row["seconds"])


def _steady(row: Row) -> float:
    return float(row["seconds"] - row["compile_seconds"])


def _wall(row: Row) -> float:
    return float(row["wall_seconds"])


def _by_own_pace(row: Row, epochs: int) -> float:
    """Return the speed-up over full training that had run at the pace of this row.

    It would have compiled as long, and all its epochs would have been as the row's one on
    everything.
    """
    return float((row["compile_seconds"] + epochs * row["full_epoch_seconds"]) / row["seconds"])


def _paces(rows: Sequence[Row]) -> list[str]:
    """Name the rows for which the machine was faster or slower than for full training."""
    full = {row["seed"]: row["full_epoch_seconds"] for row in _of(rows, FULL, 1.0)}
    lines = []
    for row in rows:
        change = row["full_epoch_seconds"] / full.get(row["seed"], row["full_epoch_seconds"]) - 1
        if abs(change) > _PACE:
            lines.append(
                f"seed {row['seed']}, {row['policy']}, keep {row['keep']:g}: its epoch on "
                f"everything took {change:+.0%} against that of the full row; the machine had "
                "changed its pace, so go by `own pace`"
            )
    return lines


def _speed_ups(
    found: Sequence[Row], rows: Sequence[Row], taken: Callable[[Row], float]
) -> list[float]:
    """Return how many times as long full training of the same seed took."""
    full = {row["seed"]: taken(row) for row in _of(rows, FULL, 1.0)}
    return [full[row["seed"]] / taken(row) for row in found if row["seed"] in full]


def _gaps(
    found: Sequence[Row], rows: Sequence[Row], base: str = FULL, key: str = "test_accuracy"
) -> list[float]:
    """Return accuracy minus that of the same seed under another policy, in points."""
    keep = 1.0 if base == FULL else found[0]["keep"]
    others = {row["seed"]: row[key] for row in _of(rows, base, keep) if key in row}
    return [100 * (row[key] - others[row["seed"]]) for row in found if row["seed"] in others]


def _about(results: Mapping[str, Any]) -> str:
    """Say in one paragraph what the table was measured on."""
    rows, settings = results["rows"], results["settings"]
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(row["seed"] for row in rows))
    minutes = sum(row["wall_seconds"] for row in rows) / 60
    places = "; ".join(dict.fromkeys(where(call) for call in results["calls"]))
    return (
        f"{settings['task']}, {rows[0]['network']}: {_samples(rows[0])}; {settings['epochs']} "
        f"epochs, {WARMUP} of them on everything (InfoBatch: the first and the last), batch "
        f"{settings['batch_size']}; seeds {seeds}: mean ± standard deviation; gaps and speed-ups "
        "are taken seed by seed. Seconds are those of training and choosing, warm-up and compiling "
        "included, without evaluation; `without compiling` leaves out what the first epoch takes "
        "longer than another one on everything; `own pace` divides what full training would take "
        "if each of its epochs were as the row's own one on everything; `wall clock` is of the "
        "whole run, evaluations and checkpoints included, reading and cutting up the texts not. "
        f"{minutes:.0f} minutes of runs, in {_calls(len(results['calls']))}: {places}. The papers' "
        "figures are of other models and data sizes."
    )


def _calls(count: int) -> str:
    return "one call" if count == 1 else f"{count} calls"


def _samples(row: Row) -> str:
    """Say how many samples a row was trained and scored on, and what share of all that is."""
    some, whole = row["train_samples"], row["whole_train_samples"]
    trained = f"all {exact(whole)} training samples"
    if some < whole:
        trained = f"{exact(some)} of {exact(whole)} training samples ({percent(some / whole, 0)})"
    scored = [
        f"{exact(row[f'{split}_samples'])} {split} samples"
        for split in ("dev", "test")
        if f"{split}_samples" in row
    ]
    return ", ".join((trained, *scored))


def _verdicts(rows: Sequence[Row], settings: Mapping[str, Any]) -> list[str]:
    """Hold SwiftLearn to its targets, and say where a random subset does as well."""
    lines = []
    for keep in sorted({row["keep"] for row in rows if row["policy"] != FULL}):
        found = _of(rows, "swiftlearn topk", keep)
        gains, gaps = _speed_ups(found, rows, _seconds), _gaps(found, rows) if found else []
        if settings["task"] == "sst2" and keep in TARGETS and gains:
            clock = _speed_ups(found, rows, _wall)
            dev = _gaps(found, rows, key="dev_accuracy")
            lines.append(
                f"keep {keep:g}, speed-up of {TARGETS[keep]:g} wanted: "
                f"{mean(gains, 2)} of training, {_fast(gains, TARGETS[keep])}; "
                f"{mean(clock, 2)} by the wall clock, {_fast(clock, TARGETS[keep])} "
                f"({mean(_speed_ups(found, rows, _steady), 2)} without compiling); "
                f"less than {MOST_LOST:g} points lost: test {mean(gaps, 2, sign='+')}, "
                f"{_close(gaps)}; dev {mean(dev, 2, sign='+')}, {_close(dev)}"
            )
        for policy, other in product(_OURS, ("random fixed", "random fresh", "infobatch")):
            found = _of(rows, policy, keep)
            beside = _gaps(found, rows, other) if found else []
            if beside:
                lines.append(
                    f"keep {keep:g}: {policy} against {other} {mean(beside, 2, sign='+')} "
                    f"points{_judged(beside, other, found[0])}"
                )
    return lines


def _fast(gains: Sequence[float], target: float) -> str:
    return "met" if statistics.fmean(gains) >= target else "NOT met"


def _close(gaps: Sequence[float]) -> str:
    return "met" if statistics.fmean(gaps) > -MOST_LOST else "NOT met"


def _judged(gaps: Sequence[float], other: str, row: Row) -> str:
    """Say what gaps to another policy, seed by seed, are worth; nothing if they show a lead.

    A lead has to exceed two standard errors over the seeds, and one of the difference between two
    accuracies on so many test samples, taken as independent.
    """
    better = statistics.fmean(gaps)
    if better <= 0:
        return f": {other} does as well or better"
    if len(gaps) < 2:
        return ": one seed, so there is no spread to hold the gap against"
    share = row["test_accuracy"]
    chance = 100 * math.sqrt(2 * share * (1 - share) / row["test_samples"])
    if better <= max(2 * deviation(gaps) / math.sqrt(len(gaps)), chance):
        tells = f"within what {len(gaps)} seeds and the test set leave open"
        return f": {tells}, so {other} does as well"
    return ""


if __name__ == "__main__":
    sys.exit(main())
