"""Ways to train a small network as a table beside the paper's: accuracy, what it costs, by method.

`python -m ms_eff.report.distillation_methods results/distillation_sst2.json` prints it. Where
ROWS_time.json lies beside it (the same experiment, `--size timing`, on a machine left alone), costs
are that file's milliseconds a step, and the rows may have shared the machine with anything.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ms_eff.bench.distillation_sizes import KIND, METHODS, PLAIN, TEACHER
from ms_eff.bench.rows import read_rows
from ms_eff.errors import UserError
from ms_eff.report.calls import where
from ms_eff.report.numbers import MISSING, exact, mean

__all__ = ["PAPER", "main", "markdown"]

Row = Mapping[str, Any]
# of a method and a seed: seconds of training, or milliseconds a step
Costs = Mapping[tuple[str, int], float]

# arXiv:2110.08460: average over GLUE's development sets, GPT-2 to DistilGPT2
PAPER = {
    TEACHER: 78.6,
    PLAIN: 77.1,
    "label smoothing": 77.0,
    "TF-reg": 77.0,
    "self-KD": 77.2,
    "vanilla KD": 77.1,
    "RAIL-KD": 77.6,
    "annealing-KD": 77.9,
    "MATE-KD": 78.5,
}

_COLUMNS = (
    "method", "dev, %", "test, %", "test against fine-tuning", "COST", "times as long",
    "paper, GLUE", "paper against fine-tuning",
)  # fmt: skip


def markdown(results: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> str:
    """Return the table, and below it what it was measured on and which method came out best.

    Args:
        results: rows, settings and calls of the experiment.
        timing: likewise of its run for the time alone; None: the rows' own seconds are the cost.
    """
    rows = results["rows"]
    costs = _seconds(rows) if timing is None else _milliseconds(timing["rows"])
    there = [method for method in METHODS if _of(rows, method)]
    header = " | ".join(_COLUMNS).replace("COST", "seconds" if timing is None else "ms a step")
    lines = [
        f"| {header} |",
        f"|{'---|' * len(_COLUMNS)}",
        *(f"| {' | '.join(_cells(rows, method, costs))} |" for method in there),
        "",
        _about(results, timing),
    ]
    order = _order(rows)
    if order:
        lines += ["", order]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m ms_eff.report.distillation_methods", description=__doc__
    )
    parser.add_argument("rows", type=Path, help="JSON of `python -m ms_eff.bench.distillation`")
    options = parser.parse_args(arguments)
    path = options.rows
    beside = path.with_name(f"{path.stem}_time.json")
    try:
        timing = read_rows(beside, KIND) if beside.exists() else None
        print(markdown(read_rows(path, KIND), timing), end="")
    except UserError as error:
        print(f"distillation_methods: {error}", file=sys.stderr)
        return 2
    return 0


def _of(rows: Sequence[Row], method: str) -> list[Row]:
    return [row for row in rows if row["method"] == method]


def _seconds(rows: Sequence[Row]) -> Costs:
    return {(row["method"], row["seed"]): row["seconds"] for row in rows}


def _milliseconds(rows: Sequence[Row]) -> Costs:
    """Return the time of a step in the second and third epoch, when all has been compiled.

    Two epochs of 50 steps hold one of MATE's rounds, as any 100 of its steps do.
    """
    found = {}
    for row in rows:
        seconds = row["epoch_seconds"]
        steps = row["steps"] / len(seconds)
        found[row["method"], row["seed"]] = 1000 * sum(seconds[1:3]) / (2 * steps)
    return found


def _gaps(rows: Sequence[Row], method: str) -> list[float]:
    """Return test accuracy minus that of plain fine-tuning with the same seed, in points."""
    plain = {row["seed"]: row["test_accuracy"] for row in _of(rows, PLAIN)}
    return [
        100 * (row["test_accuracy"] - plain[row["seed"]])
        for row in _of(rows, method)
        if row["seed"] in plain
    ]


def _cells(rows: Sequence[Row], method: str, costs: Costs) -> list[str]:
    found = _of(rows, method)
    own = {seed: cost for (name, seed), cost in costs.items() if name == method}
    longer = [own[seed] / costs[PLAIN, seed] for seed in own if (PLAIN, seed) in costs]
    is_plain = method == PLAIN
    return [
        method,
        mean([100 * row["dev_accuracy"] for row in found], 2),
        mean([100 * row["test_accuracy"] for row in found], 2),
        MISSING if is_plain else mean(_gaps(rows, method), 2, sign="+"),
        mean(list(own.values()), 0),
        MISSING if is_plain else mean(longer, 2),
        f"{PAPER[method]:.1f}",
        MISSING if is_plain else f"{PAPER[method] - PAPER[PLAIN]:+.1f}",
    ]


def _about(results: Mapping[str, Any], timing: Mapping[str, Any] | None) -> str:
    """Say in one paragraph what the table was measured on."""
    rows, settings, first = results["rows"], results["settings"], results["calls"][0]
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(row["seed"] for row in rows))
    minutes = sum(row["seconds"] for row in rows) / 60
    sizes = [
        f"the {whose}'s {exact(found[0]['params'])} parameters"
        for whose, found in (("teacher", _of(rows, TEACHER)), ("student", _of(rows, PLAIN)))
        if found
    ]
    return (
        f"SST-2, {exact(rows[0]['train_samples'])} training sentences; {' and '.join(sizes)}; the "
        f"student keeps {settings['keep']} of MiniLM's pre-trained blocks ({settings['rule']}). "
        f"Teacher {settings['teacher_epochs']} epochs, students {settings['epochs']}, batch "
        f"{settings['batch_size']}; seeds {seeds}: mean ± standard deviation, differences taken "
        f"seed by seed. {_what_costs(timing)} A teacher's own training is not added to its "
        f"students'. {minutes:.0f} minutes of training in all on {where(first)}. The paper's "
        "figures are of GPT-2 and DistilGPT2 over all of GLUE: its differences may be compared, "
        "not its values."
    )


def _what_costs(timing: Mapping[str, Any] | None) -> str:
    if timing is None:
        return "Seconds are those of training, compiling included, evaluation not."
    batch = timing["settings"]["batch_size"]
    return (
        f"Milliseconds are those of a step of {batch} sentences once all is compiled, measured "
        f"apart on a machine left alone ({where(timing['calls'][0])}); MATE-KD's include its "
        "generator's steps, annealing-KD's are of its first phase: its second is plain fine-tuning."
    )


def _order(rows: Sequence[Row]) -> str:
    """Name the students by test accuracy, and whether the first leads by more than the spread."""
    students = [m for m in METHODS if m != TEACHER and _of(rows, m)]
    score = {m: [100 * row["test_accuracy"] for row in _of(rows, m)] for m in students}
    if len(students) < 2:
        return ""
    order = sorted(students, key=lambda m: -statistics.fmean(score[m]))
    spread = max((statistics.stdev(v) for v in score.values() if len(v) > 1), default=None)
    lead = statistics.fmean(score[order[0]]) - statistics.fmean(score[order[-1]])
    words = f"- by test accuracy: {', '.join(order)}"
    if spread is None:
        return f"{words}; one seed says nothing about the spread"
    return (
        f"{words}; first and last are {lead:.2f} points apart, the largest standard deviation over "
        f"the seeds is {spread:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
