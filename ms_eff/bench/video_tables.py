"""The tables of video networks as Markdown, from recorded rows, beside the paper's figures.

A row's network was timed in turns with the one of 3D convolutions, so what holds is their ratio.
Frames a second are that ratio times the median over all rows of what 3D convolutions did: a machine
that changes its pace between rows changes nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "PAPER",
    "Paper",
    "accuracy_lines",
    "accuracy_verdicts",
    "speed_lines",
    "speed_verdicts",
]

Row = Mapping[str, Any]
# parameters in M, frames/s (V100), GMACs, accuracy in %: Kinetics-400 and UCF-101 from scratch,
# UCF-101 after Kinetics
Paper = tuple[float, int, float, float, float, float]

# of arXiv:2407.16514
PAPER: dict[str, Paper] = {
    "conv3d": (33.7, 773, 35.6, 55.63, 72.85, 88.48),
    "r2plus1d": (33.7, 764, 36.9, 57.91, 69.00, 90.31),
    "cat": (32.2, 774, 32.7, 59.41, 70.15, 91.21),
    "add": (16.3, 865, 17.1, 57.90, 75.79, 90.62),
    "p3d_a": (22.5, 824, 19.5, 56.77, 67.88, 90.44),
    "p3d_b": (23.5, 791, 20.9, 57.83, 69.62, 90.31),
    "p3d_c": (22.8, 758, 19.6, 59.40, 71.56, 91.01),
    "rank1": (13.7, 724, 14.7, 56.14, 64.12, 86.41),
}
_GAIN = 1.12  # that `add` is to have over 3D convolutions, in inference and in training
_HALF = 0.5
_CLOSE = 1.0  # points of accuracy within which a variant counts as comparable
_CONTROL = "spatial"
_SPEEDS = ("inference", "training")
_NONE = "not there"


def speed_lines(rows: Sequence[Row]) -> list[str]:
    """Return the whole-model table; ratios are medians (10th to 90th percentile of the rounds).

    Args:
        rows: of `ms_eff.bench.video_speed`.
    """
    titles = (
        "variant", "parameters, M", "paper", "GMACs, 3D network", "paper", "GMACs, all",
        "inference, frames/s", "against conv3d", "training, frames/s", "against conv3d",
        "paper, frames/s against conv3d",
    )  # fmt: skip
    return _table(titles, [_speed_cells(row, rows) for row in rows])


def speed_verdicts(rows: Sequence[Row]) -> list[str]:
    """Hold `add` to its demand, and name the fastest variants, noise considered."""
    lines = []
    for row in rows:
        for kind in _SPEEDS if row["row"] == "add" else ():
            met = "met" if _gain(row, kind) >= _GAIN else "NOT met"
            lines.append(f"- add, {kind}: {_spread_gain(row, kind)} conv3d, {_GAIN} wanted: {met}")
    if rows:
        lines += [f"- fastest, {kind}: {_fastest(rows, kind)}" for kind in _SPEEDS]
    return lines


def accuracy_lines(rows: Sequence[Row], speeds: Sequence[Row] = ()) -> list[str]:
    """Return one line a task and variant: mean and standard deviation over the seeds.

    Args:
        rows: of `ms_eff.bench.video_accuracy`.
        speeds: of `ms_eff.bench.video_speed`, of the same network.
    """
    titles = (
        "task", "variant", "accuracy, %", "chance, %", "against conv3d, points", "parameters",
        "MMACs", "inference, frames/s (against conv3d)", "training, likewise", "seeds",
        "paper: Kinetics-400, UCF-101, both, %",
    )  # fmt: skip
    cells = [_accuracy_cells(rows, *key, speeds) for key in _keys(rows)]
    return _table(titles, cells)


def accuracy_verdicts(rows: Sequence[Row], speeds: Sequence[Row] = ()) -> list[str]:
    """Hold `add` to conv3d at half its weights, the control to chance, and name the fastest."""
    fast = {row["row"]: row for row in speeds}
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        lines += _about_add(rows, task)
        control = _of(rows, task, _CONTROL)
        if control:
            found, chance = _mean(control, "accuracy"), control[0]["chance"]
            near = abs(found - chance) <= 3 * _error(chance, control)
            lines.append(
                f"- {task}: each frame for itself {100 * found:.1f} %, chance "
                f"{100 * chance:.1f} %: {'at chance' if near else 'NOT at chance'}"
            )
        whole = _of(rows, task, "conv3d")
        if whole and fast:
            limit = _mean(whole, "accuracy") - _CLOSE / 100
            close = [fast[key[1]] for key in _keys(rows) if key[0] == task and key[1] in fast and
                     _mean(_of(rows, *key), "accuracy") >= limit]  # fmt: skip
            lines += [
                f"- {task}: fastest within {_CLOSE:g} point of conv3d, or above it, {kind}: "
                f"{_fastest(close, kind)}"
                for kind in (_SPEEDS if close else ())
            ]
    return lines


def _about_add(rows: Sequence[Row], task: str) -> list[str]:
    add, whole = _of(rows, task, "add"), _of(rows, task, "conv3d")
    if not add or not whole:
        return []
    gap = 100 * (_mean(add, "accuracy") - _mean(whole, "accuracy"))
    share = add[0]["params"] / whole[0]["params"]
    met = "met" if gap >= 0 and share <= _HALF else "NOT met"
    return [
        f"- {task}: add {gap:+.2f} points from conv3d at {100 * share:.0f} % of its parameters, at "
        f"least its accuracy at half of them wanted: {met}"
    ]


def _speed_cells(row: Row, rows: Sequence[Row]) -> list[str]:
    paper = PAPER.get(row["row"])
    cells = [row["row"], f"{row['params'] / 1e6:.1f}", f"{paper[0]}" if paper else _NONE]
    cells += [f"{row['macs_3d'] / 1e9:.1f}", f"{paper[2]}" if paper else _NONE]
    cells.append(f"{row['macs'] / 1e9:.1f}")
    for kind in _SPEEDS:
        cells += [f"{_rate(row, kind, rows):.1f}", _spread_gain(row, kind)]
    return [*cells, f"{paper[1] / PAPER['conv3d'][1]:.2f}x" if paper else _NONE]


def _accuracy_cells(
    rows: Sequence[Row], task: str, variant: str, speeds: Sequence[Row]
) -> list[str]:
    found = _of(rows, task, variant)
    whole = {row["seed"]: row["accuracy"] for row in _of(rows, task, "conv3d")}
    gaps = [100 * (r["accuracy"] - whole[r["seed"]]) for r in found if r["seed"] in whole]
    paper = PAPER.get(variant)
    return [
        task,
        variant,
        _spread([100 * row["accuracy"] for row in found]),
        f"{100 * found[0]['chance']:.1f}",
        _spread(gaps, "+") if gaps and variant != "conv3d" else "",
        f"{found[0]['params']:,}",
        f"{found[0]['macs'] / 1e6:.1f}",
        *(_speed(variant, kind, speeds) for kind in _SPEEDS),
        ", ".join(str(row["seed"]) for row in found),
        " / ".join(f"{value:.1f}" for value in paper[3:]) if paper else _NONE,
    ]


def _speed(variant: str, kind: str, speeds: Sequence[Row]) -> str:
    row = next((row for row in speeds if row["row"] == variant), None)
    return "" if row is None else f"{_rate(row, kind, speeds):.0f} ({_gain(row, kind):.2f}x)"


def _rate(row: Row, kind: str, rows: Sequence[Row]) -> float:
    """Return frames a second at the pace that 3D convolutions had in the middle of all rows."""
    frames = row[kind]["frames_per_s"] * row[kind]["variant"]["median_ms"]
    whole = statistics.median(other[kind]["conv3d"]["median_ms"] for other in rows)
    return float(frames / whole * _gain(row, kind))


def _fastest(rows: Sequence[Row], kind: str) -> str:
    """Name the row of the highest ratio, and those whose spread reaches into its own."""
    best = max(rows, key=lambda row: _gain(row, kind))
    low = best[kind]["variant"]["speedup"]["p10"]
    near = [r["row"] for r in rows if r[kind]["variant"]["speedup"]["p90"] >= low and r is not best]
    told = f"{best['row']}, {_gain(best, kind):.2f}x conv3d"
    return f"{told}; within its spread: {', '.join(near)}" if near else told


def _spread_gain(row: Row, kind: str) -> str:
    gain = row[kind]["variant"]["speedup"]
    return f"{gain['median']:.2f}x ({gain['p10']:.2f} to {gain['p90']:.2f})"


def _keys(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["task"], row["variant"]) for row in rows))


def _of(rows: Sequence[Row], task: str, variant: str) -> list[Row]:
    return [row for row in rows if (row["task"], row["variant"]) == (task, variant)]


def _mean(rows: Sequence[Row], column: str) -> float:
    return statistics.fmean(row[column] for row in rows)


def _error(chance: float, rows: Sequence[Row]) -> float:
    """Return the standard error of guessing on as many clips."""
    clips = rows[0]["test_clips"]  # all seeds have the same
    return float((chance * (1 - chance) / clips) ** 0.5)


def _gain(row: Row, kind: str) -> float:
    return float(row[kind]["variant"]["speedup"]["median"])


def _spread(values: Sequence[float], sign: str = "") -> str:
    mean = f"{statistics.fmean(values):{sign}.2f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.2f}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
