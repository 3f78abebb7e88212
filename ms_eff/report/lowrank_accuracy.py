"""The accuracy experiment as a Markdown table and a plot, from its rows alone.

`python -m ms_eff.report.lowrank_accuracy results/lowrank_accuracy_cifar10.json` prints the table
and writes the plot beside the rows, as `.svg`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ms_eff.bench.accuracy_sizes import KIND, VARIANTS
from ms_eff.bench.rows import read_rows
from ms_eff.errors import SetupError, UserError
from ms_eff.files import read_json, replacing
from ms_eff.report.drawing import legend, name_axes, panels, style, svg_file
from ms_eff.report.numbers import MISSING, deviation, exact, mean, short, span

__all__ = ["main", "markdown", "plot", "timed"]

Row = Mapping[str, Any]

# changes of ImageNet top-1 in points, from the tables of arXiv:2407.20266
PAPER = {
    "vanilla": {"resnet50": "+0.54", "resnet101": "-0.43"},
    "static freezing": {"resnet152": "-0.48"},
    "merging": {"resnet50": "-0.21", "resnet101": "-0.82", "resnet152": "-0.44"},
    "branching": {"resnet101": "-0.70", "resnet152": "-0.34"},
}
_COLUMNS = (
    "model", "variant", "layers decomposed", "parameters", "MACs", "before, %", "accuracy, %",
    "against continued", "training seconds", "papers, ImageNet",
)  # fmt: skip
_WALL = "Seconds are those of training, compiling included, without evaluation."
_ALONE = (
    "Seconds are steps times the median training step of one seed's networks, timed apart, in "
    "turns, with nothing else on the machine."
)
_BOUND = 1.0  # points that sequential freezing may lie below unfrozen fine-tuning


def markdown(results: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> str:
    """Return the table, and below it what it was measured on and what it says.

    Args:
        results: `settings`, `calls` and `rows` of `ms_eff.bench.lowrank_accuracy`.
        timing: of `ms_eff.bench.accuracy_timing`: seconds then are steps times the step's median
            on a machine left alone, in place of what the runs took.
    """
    rows = timed(results, timing)
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * len(_COLUMNS)}",
        *(f"| {' | '.join(_cells(rows, *key))} |" for key in _keys(rows)),
        "",
        _about(results, timing),
        "",
        *(f"- {line}" for line in (*_verdicts(rows), *_notes(rows))),
    ]
    return "\n".join(lines).rstrip() + "\n"


def plot(results: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> str:
    """Return an SVG file: accuracy over seconds of fine-tuning, one panel a model.

    Bars reach one standard deviation over the seeds; the dotted line is the dense network that all
    start from.

    Raises:
        SetupError: matplotlib is not installed.
    """
    rows = timed(results, timing)
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = panels(max(len(models), 1))
    for axis, model in zip(axes, models, strict=False):
        for index, variant in enumerate(VARIANTS):
            found = _measured(rows, model, variant)
            if not found:
                continue
            heights = [100 * row["accuracy"] for row in found]
            height, spread = statistics.fmean(heights), deviation(heights)
            if variant == "dense":
                axis.axhline(height, linestyle=":", color="#7d8597", label=variant)
                continue
            at = statistics.fmean(_shown_seconds(row) for row in found)
            # index 0 is dense, which is drawn as a line
            kind = style(index - 1)
            axis.errorbar([at], [height], yerr=spread, capsize=3, **kind, label=variant)
        axis.margins(0.15, 0.2)
        axis.set_title(_name(rows, model))
        name_axes(axis, "seconds of fine-tuning", "test accuracy, %")
    legend(figure, axes, columns=4)
    return svg_file(figure)


def timed(results: Mapping[str, Any], timing: Mapping[str, Any] | None) -> list[Row]:
    """Return the rows with the seconds that a timing gives them.

    Args:
        results: as `markdown` takes them.
        timing: likewise.
    """
    rows = results["rows"]
    if timing is None:
        return list(rows)
    found: list[Row] = []
    for row in rows:
        step = timing["steps"].get(row["model"], {}).get(row["variant"])
        if step is None:
            found.append(row)
            continue
        steps = row["epochs"] * (row["train_images"] // results["settings"]["batch_size"])
        seconds = steps * step["median_ms"] / 1000
        found.append({**row, "seconds": seconds, "steady_seconds": seconds})
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and write the plot; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m ms_eff.report.lowrank_accuracy", description=__doc__
    )
    parser.add_argument("rows", type=Path, help="JSON of `python -m ms_eff.bench.lowrank_accuracy`")
    options = parser.parse_args(arguments)
    try:
        results = read_rows(options.rows, KIND)
        beside = options.rows.with_name(f"{options.rows.stem}_time.json")
        timing = read_json(beside, SetupError) if beside.exists() else None
        with replacing(options.rows.with_suffix(".svg"), SetupError) as temporary:
            temporary.write_text(plot(results, timing), encoding="utf-8")
    except UserError as error:
        print(f"lowrank_accuracy: {error}", file=sys.stderr)
        return 2
    print(markdown(results, timing), end="")
    return 0


def _keys(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return (model, variant) of all rows, in the order of the models, then of `VARIANTS`."""
    models = dict.fromkeys(row["model"] for row in rows)
    there = {(row["model"], row["variant"]) for row in rows}
    return [(m, v) for m in models for v in VARIANTS if (m, v) in there]


def _measured(rows: Iterable[Row], model: str, variant: str) -> list[Row]:
    return [
        row
        for row in rows
        if (row["model"], row["variant"]) == (model, variant) and row["accuracy"] is not None
    ]


def _cells(rows: Sequence[Row], model: str, variant: str) -> list[str]:
    found = _measured(rows, model, variant)
    start = [_name(rows, model), variant]
    paper = _paper(variant)
    if not found:
        return [*start, "does not apply", *[MISSING] * (len(_COLUMNS) - 4), paper]
    layers = MISSING
    if VARIANTS[variant] is not None:
        layers = f"{span([row['decomposed'] for row in found])} of {_total(found[0])}"
    return [
        *start,
        layers,
        span([row["params"] for row in found], exact),
        span([row["macs"] for row in found], short),
        mean([100 * r["accuracy_before"] for r in found if r["accuracy_before"] is not None], 1),
        mean([100 * row["accuracy"] for row in found], 2),
        MISSING if variant in ("dense", "continued") else mean(_gaps(found, rows), 2, sign="+"),
        # timed apart, all seeds have the same: no spread is known
        mean(list({row["seconds"] for row in found}), 0),
        paper,
    ]


def _about(results: Mapping[str, Any], timing: Mapping[str, Any] | None) -> str:
    """Say in one paragraph what the table was measured on."""
    rows, calls, settings = results["rows"], results["calls"], results["settings"]
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(row["seed"] for row in rows))
    images = span([row["train_images"] for row in rows], exact)
    tested = span([row["test_images"] for row in rows if row["test_images"]], exact)
    minutes = sum(row["wall_seconds"] for row in rows) / 60
    first = calls[0]
    cores = f", {first['cores']} core{'s' * (first['cores'] > 1)}" if first["cores"] else ""
    return (
        f"{settings['data']}, CIFAR stem; {images} training and {tested} test images, batch "
        f"{settings['batch_size']}; {settings['pretrain_epochs']} epochs dense, then "
        f"{settings['fine_tune_epochs']} of fine-tuning for every variant, from the same dense "
        f"weights, with the same schedule and order of the data; seeds {seeds}: mean ± standard "
        f"deviation. `continued` is the dense network fine-tuned as long; gaps to it, in points, "
        f"are taken seed by seed. {_WALL if timing is None else _ALONE} All of it "
        f"took {minutes:.0f} minutes on {first['device']}{cores}, MindSpore "
        f"{first['versions'].get('mindspore', MISSING)}, {first['date'][:10]}."
    )


def _verdicts(rows: Sequence[Row]) -> list[str]:
    """Hold sequential freezing to its bound: within a point of unfrozen fine-tuning."""
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        found = _measured(rows, model, "sequential freezing")
        gaps = _gaps(found, rows, "vanilla")
        if gaps:
            met = "within" if statistics.fmean(gaps) >= -_BOUND else "NOT within"
            lines.append(
                f"{_name(rows, model)}: sequential freezing against unfrozen fine-tuning (vanilla) "
                f"{mean(gaps, 2, sign='+')} points: {met} {_BOUND:g} point"
            )
    return lines


def _notes(rows: Sequence[Row]) -> list[str]:
    notes: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if row["note"]:
            key = (_name(rows, row["model"]), row["variant"], row["note"])
            notes.setdefault(key, []).append(str(row["seed"]))
    return [
        f"{model}, {variant} (seed {', '.join(seeds)}): {note}"
        for (model, variant, note), seeds in notes.items()
    ]


def _gaps(found: Iterable[Row], rows: Sequence[Row], other: str = "continued") -> list[float]:
    """Return accuracy minus the other variant's of the same model and seed, in points."""
    reference = {(r["model"], r["seed"]): r["accuracy"] for r in rows if r["variant"] == other}
    pairs = ((row["accuracy"], reference.get((row["model"], row["seed"]))) for row in found)
    return [100 * (value - base) for value, base in pairs if base is not None]


def _shown_seconds(row: Row) -> float:
    value: float = row["seconds"] if row["steady_seconds"] is None else row["steady_seconds"]
    return value


def _name(rows: Sequence[Row], model: str) -> str:
    width = next(row["width"] for row in rows if row["model"] == model)
    return f"{model}, width {width}"


def _paper(variant: str) -> str:
    return ", ".join(f"{gap} ({name})" for name, gap in PAPER.get(variant, {}).items()) or MISSING


def _total(row: Row) -> str:
    return MISSING if row["whole"] is None else str(row["decomposed"] + row["whole"])


if __name__ == "__main__":
    sys.exit(main())
