"""The tables of a report, as text: which columns there are and what stands in each cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ms_eff.errors import DataError
from ms_eff.report.numbers import MISSING, brief, decimal, dimensions, exact, percent, short

__all__ = [
    "Column",
    "Entry",
    "Table",
    "about_layers",
    "comparison",
    "facts",
    "layers",
    "remarks",
    "stages_of",
]

Stage = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One cell of a table.

    Attributes:
        text: what it says.
        detail: smaller, below, a line each: spread, share, gain.
        number: whether to set it flush right.
    """

    text: str = MISSING
    detail: tuple[str, ...] = ()
    number: bool = True


@dataclass(frozen=True)
class Table:
    """Columns by title, rows of cells; `faint` rows are set back (layers left whole)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    faint: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Column:
    """A column of the comparison: shown if `cell(stage, dense)` knows at least one stage.

    `wide` ones are left out where room is short.
    """

    title: str
    cell: Callable[[Stage, Stage], Entry | None]
    wide: bool = False


def stages_of(results: Mapping[str, Any]) -> Mapping[str, Stage]:
    """Return the models of a run by name.

    Raises:
        DataError: these are no results of a run.
    """
    stages = results.get("stages")
    if not isinstance(stages, Mapping) or not all(isinstance(s, Mapping) for s in stages.values()):
        raise DataError(
            f"results: expected the models of a run under 'stages', found {type(stages).__name__}; "
            "give the results.json of a run"
        )
    return stages


def comparison(stages: Mapping[str, Stage], *, narrow: bool = False) -> Table:
    """Return one row a stage; the first stage (dense) is what shares and gaps refer to.

    Columns that no stage has a value for are left out.
    """
    dense = next(iter(stages.values()), {})
    filled = [
        (column.title, [column.cell(stage, dense) for stage in stages.values()])
        for column in _COMPARISON
        if not (narrow and column.wide)
    ]
    filled = [(title, cells) for title, cells in filled if any(cells)]
    rows = tuple(
        (Entry(name, number=False), *(cells[index] or Entry() for _, cells in filled))
        for index, name in enumerate(stages)
    )
    return Table(("model", *(title for title, _ in filled)), rows)


def remarks(stages: Mapping[str, Stage]) -> list[str]:
    """Return what a reader must know: batch and runs, limits of the gaps, damaged files."""
    taken = [one for stage in stages.values() for one in (stage.get("latency") or {}).values()]
    settings = dict.fromkeys(f"{one['runs']} runs at batch {one['batch']}" for one in taken)
    done = [one for stage in stages.values() for one in (stage.get("export") or {}).values()]
    limits = dict.fromkeys(f"{one['tolerance']:.0e}" for one in done)
    words = []
    if settings:
        words.append(f"Latency: median and p10-p90 of {', '.join(settings)}.")
    if limits:
        words.append(
            "Export gap: largest difference of the exported file's outputs from the live "
            f"network's (limit {', '.join(limits)})."
        )
    skipped = [stage["damaged"] for stage in stages.values() if "damaged" in stage]
    train, test = (max((one[part] for one in skipped), default=0) for part in ("train", "test"))
    if train or test:
        words.append(
            f"Damaged files: {train} training samples, replaced by others of their class; {test} "
            "test samples, left out of the scores."
        )
    return words


def layers(report: Sequence[Mapping[str, Any]], *, narrow: bool = False) -> Table:
    """Return one row a layer, with whatever a method recorded of it; known fields come first.

    Fields that nothing was recorded for are left out, nested ones too; `narrow` keeps the few
    that fit a terminal.
    """
    recorded = dict.fromkeys(
        key for layer in report for key, value in layer.items() if _is_plain(value)
    )
    order = _NARROW if narrow else (*_LAYER_FIELDS, *recorded, "reason")
    keys = [key for key in dict.fromkeys(order) if key in recorded and key != "decomposed"]
    if not narrow and "reason" in keys:  # words, and often long: at the end
        keys = [*(key for key in keys if key != "reason"), "reason"]
    titles = tuple(_LAYER_FIELDS.get(key, (key.replace("_", " "),))[0] for key in keys)
    forms = {"params_before": short, "params_after": short} if narrow else {}
    rows = tuple(
        tuple(_layer_entry(key, layer.get(key), forms.get(key)) for key in keys) for layer in report
    )
    return Table(titles, rows, frozenset(i for i, layer in enumerate(report) if _is_whole(layer)))


def about_layers(report: Sequence[Mapping[str, Any]]) -> str:
    """Return in words how many layers were changed and what that saved."""
    whole = sum(map(_is_whole, report))
    words = f"{len(report)} layers looked at, {len(report) - whole} changed, {whole} left whole"
    if all("params_before" in layer and "params_after" in layer for layer in report):
        before, after = (sum(row[f"params_{when}"] for row in report) for when in _WHEN)
        words += f"; their weights: {exact(before)} before, {exact(after)} after"
    if any("error" in layer for layer in report):
        words += ". Error: of the weights, relative, in the Frobenius norm"
    return words + "."


def facts(tree: Mapping[str, Any]) -> Table:
    """Return a nested mapping as rows of dotted name and value."""
    rows = tuple((Entry(key, number=False), Entry(text, number=False)) for key, text in _flat(tree))
    return Table(("key", "value"), rows)


def _flat(tree: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(tree, Mapping):
        return [row for key, value in tree.items() for row in _flat(value, f"{prefix}{key}.")]
    if isinstance(tree, (list, tuple)) and any(isinstance(part, (Mapping, list)) for part in tree):
        return [row for i, part in enumerate(tree) for row in _flat(part, f"{prefix}{i}.")]
    text = ", ".join(str(part) for part in tree) if isinstance(tree, (list, tuple)) else str(tree)
    return [] if tree is None else [(prefix.removesuffix("."), text)]


def _accuracy(stage: Stage, dense: Stage) -> Entry | None:
    value, reference = stage.get("accuracy"), dense.get("accuracy")
    if value is None:
        return None
    if stage is dense or reference is None:
        return Entry(percent(value, 2))
    return Entry(percent(value, 2), (f"{100 * (value - reference):+.2f} pts",))


def _perplexity(stage: Stage, dense: Stage) -> Entry | None:
    value, reference = stage.get("perplexity"), dense.get("perplexity")
    if value is None:
        return None
    if stage is dense or not reference:
        return Entry(decimal(value))
    return Entry(decimal(value), (f"{100 * (value / reference - 1):+.1f} %",))


def _loss(stage: Stage, dense: Stage) -> Entry | None:
    return Entry(decimal(stage["loss"])) if stage.get("loss") is not None else None


def _counted(key: str, form: Callable[[int | None], str]) -> Callable[[Stage, Stage], Entry | None]:
    def cell(stage: Stage, dense: Stage) -> Entry | None:
        value, reference = stage.get(key), dense.get(key)
        if value is None:
            return None
        if stage is dense or not reference:
            return Entry(form(value))
        return Entry(form(value), (percent(value / reference),))

    return cell


def _latency(kind: str) -> Callable[[Stage, Stage], Entry | None]:
    def cell(stage: Stage, dense: Stage) -> Entry | None:
        taken = (stage.get("latency") or {}).get(kind)
        if not taken:
            return None
        detail = [f"{brief(taken['p10_ms'])}-{brief(taken['p90_ms'])}"]
        if taken.get("speedup") and stage is not dense:
            detail.append(f"{taken['speedup']['median']:.2f}x")
        return Entry(f"{brief(taken['median_ms'])} ms", tuple(detail))

    return cell


def _parity(stage: Stage, dense: Stage) -> Entry | None:
    done = stage.get("export") or {}
    lines = [
        f"{label} {done[format]['max_abs_difference'] or 0:.2g}"
        for format, label in (("mindir", "MindIR"), ("onnx", "ONNX"))
        if format in done
    ]
    return Entry(lines[0], tuple(lines[1:])) if lines else None


_COMPARISON = (
    Column("accuracy", _accuracy),
    Column("perplexity", _perplexity),
    Column("loss", _loss, wide=True),
    Column("parameters", _counted("params", exact)),
    Column("MACs", _counted("macs", short)),
    Column("forward", _latency("forward")),
    Column("train step", _latency("train_step")),
    Column("export gap", _parity),
)


_WHEN = ("before", "after")
# field of a layer's report: (title, how to write it)
_LAYER_FIELDS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "layer": ("layer", str),
    "kind": ("kind", str),
    "shape": ("shape", dimensions),
    "rank": ("rank", dimensions),
    "error": ("error", decimal),
    "params_before": ("weights", exact),
    "params_after": ("after", exact),
    "macs_before": ("MACs", short),
    "macs_after": ("after", short),
    "latency_before_ms": ("ms", decimal),
    "latency_after_ms": ("after", decimal),
    "reason": ("why whole", str),
}
_WORDS = ("layer", "kind", "shape", "rank", "reason")
_NARROW = ("layer", "shape", "rank", "error", "params_before", "params_after", "reason")


def _is_whole(layer: Mapping[str, Any]) -> bool:
    return layer.get("decomposed") is False


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(part, (int, float, str)) for part in value)
    return value is not None and not isinstance(value, Mapping)


def _layer_entry(key: str, value: Any, form: Callable[[Any], str] | None) -> Entry:
    number = key not in _WORDS
    if value is None or not _is_plain(value):
        return Entry(number=number)
    if key in _LAYER_FIELDS:
        return Entry((form or _LAYER_FIELDS[key][1])(value), number=number)
    if isinstance(value, float):
        return Entry(decimal(value))
    return Entry(dimensions(value), number=isinstance(value, int))
