"""A family of language models as one HTML file and one plot, from its `family.json`.

Where `speed.json` lies beside it (`python -m ms_eff.bench.language_speed PARENT MEMBER...
--output OUTPUT/speed.json`), its tokens a second are in the table too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ms_eff.errors import ConfigError, UserError
from ms_eff.files import read_json
from ms_eff.report.calls import where
from ms_eff.report.drawing import INK, inline_svg, legend, name_axes, panels, style, svg_file
from ms_eff.report.numbers import MISSING, decimal, exact, percent
from ms_eff.report.page import page_of, save
from ms_eff.report.parts import Part
from ms_eff.report.tables import Entry, Table, facts

__all__ = [
    "SPEED",
    "family_page",
    "members_table",
    "name_of",
    "read_family",
    "speeds_of",
    "write_family",
]

FAMILY, SPEED, PAGE, PLOT = "family.json", "speed.json", "report.html", "size_perplexity.svg"

Row = Mapping[str, Any]
# (member, parameters) -> kind of work -> tokens a second, and times the parent's
Speeds = Mapping[tuple[str, int], Mapping[str, tuple[float, float]]]


def read_family(output: Path) -> dict[str, Any]:
    """Return what a family's folder says of its members.

    Raises:
        ConfigError: there is none yet, or the file is damaged.
    """
    path = output / FAMILY
    if not path.is_file():
        raise ConfigError(f"{path}: no family yet; run `ms-eff compress` first")
    found = read_json(path, ConfigError)
    if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
        raise ConfigError(f"{path}: damaged (no rows); run `ms-eff compress` again")
    return found


def write_family(output: Path) -> tuple[Path, Path]:
    """Write page and plot of a family into its folder; return their paths.

    Raises:
        ConfigError: there is no family yet, or one of its files is damaged.
        SetupError: jinja2 or matplotlib is not installed.
        UserError: a file cannot be written.
    """
    found, speeds = read_family(output), speeds_of(output / SPEED)
    page = save(family_page(found, speeds), output / PAGE)
    return page, save(svg_file(_figure(found["rows"])), output / PLOT)


def family_page(found: Mapping[str, Any], speeds: Speeds | None = None) -> str:
    """Return the page of a family: table, plot, samples, and what it was made with.

    Args:
        found: what `family.json` holds.
        speeds: of its members, where they were measured.

    Raises:
        SetupError: jinja2 or matplotlib is not installed.
    """
    rows, settings = found["rows"], found.get("settings") or {}
    parent = Path(str((settings.get("parent") or {}).get("path", "")))
    parts = [Part("Members", _words(rows, settings), members_table(rows, parent, speeds or {}))]
    if rows:
        parts.append(Part("Size against perplexity", figure=inline_svg(_figure(rows))))
    if (samples := _samples(rows, settings)) is not None:
        parts.append(Part("What they write", "Prompt and continuation, greedily.", samples))
    parts.append(Part("Configuration", table=facts(settings), folded=True))
    environment = found.get("environment") or {}
    parts.append(Part("Environment", table=facts(environment), folded=True))
    place = where(environment) if environment else ""
    return page_of(f"Family of {parent.name or 'a language model'}", place, parts)


def name_of(row: Row) -> str:
    """Return what a member is called.

    >>> name_of({"ratio": 1.0}), name_of({"ratio": 1.25})
    ('parent', 'ratio 1.25')
    """
    return "parent" if row["ratio"] == 1 else f"ratio {row['ratio']:g}"


def _words(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    judged = settings.get("evaluation") or {}
    files = ", ".join(Path(str(file)).name for file in judged.get("files") or ())
    words = ["Shares and factors refer to the first row."]
    if rows and files:
        read = rows[0].get("evaluation_tokens")
        tokens = "" if read is None else f"{exact(read)} tokens read, "
        words.append(
            f"Perplexity of {files}: {tokens}{exact(rows[0].get('scored_tokens'))} scored, in "
            f"windows of {judged.get('window')}."
        )
    if any(row.get("zero_shot") for row in rows):
        words.append("Questions by log-likelihood; below, normalised by length.")
    return " ".join(words)


def members_table(rows: Sequence[Row], parent: Path, speeds: Speeds) -> Table:
    """Return a row a member, the parent first: sizes, scores, speeds, a sample.

    Args:
        rows: of `family.json`.
        parent: its file or folder; members' folders are called by their ratios.
        speeds: where they were measured.
    """
    tasks = dict.fromkeys(name for row in rows for name in row.get("zero_shot") or {})
    kinds = dict.fromkeys(kind for found in speeds.values() for kind in found)
    trained = any(row.get("trained_tokens") for row in rows)
    written = any(row.get("samples") for row in rows)
    columns = (
        *("member", "parameters", "block linears", "perplexity"),
        *tasks,
        *(f"{kind}, tokens/s" for kind in kinds),
        *(("trained on, tokens",) if trained else ()),
        *(("sample",) if written else ()),
    )
    cells = []
    for row in rows:
        folder = parent.name if row["ratio"] == 1 else f"{row['ratio']:g}"
        fast = speeds.get((folder, row["params"]), {})
        cells.append((
            Entry(name_of(row), number=False),
            *(_share(row, rows[0], key) for key in ("params", "block_params")),
            _perplexity(row, rows[0]),
            *(_accuracy((row.get("zero_shot") or {}).get(task)) for task in tasks),
            *(_speed(fast.get(kind)) for kind in kinds),
            *((Entry(exact(row.get("trained_tokens"))),) if trained else ()),
            *((Entry(_one_line(row, 0), number=False),) if written else ()),
        ))  # fmt: skip
    return Table(columns, tuple(cells))


def _share(row: Row, first: Row, key: str) -> Entry:
    detail = () if row is first else (percent(row[key] / first[key]),)
    return Entry(exact(row[key]), detail)


def _perplexity(row: Row, first: Row) -> Entry:
    value = row["perplexity"]
    detail = () if row is first else (f"{decimal(value / first['perplexity'])}x",)
    return Entry(decimal(value), detail)


def _accuracy(score: Mapping[str, Any] | None) -> Entry:
    if score is None:
        return Entry()
    details = (percent(score["normalised"]), f"{score['questions']} questions")
    return Entry(percent(score["accuracy"]), details)


def _speed(found: tuple[float, float] | None) -> Entry:
    return Entry() if found is None else Entry(decimal(found[0]), (f"{found[1]:.2f}x",))


def _samples(rows: Sequence[Row], settings: Mapping[str, Any]) -> Table | None:
    """Return each member's words behind every prompt; None where one prompt is in the table."""
    prompts = (settings.get("evaluation") or {}).get("prompts") or ()
    if len(prompts) < 2 or not any(row.get("samples") for row in rows):
        return None
    cells = (
        (name_of(row), *(_one_line(row, i) for i in range(len(prompts))))
        for row in rows
    )  # fmt: skip
    entries = tuple(tuple(Entry(text, number=False) for text in row) for row in cells)
    return Table(("member", *(f"prompt {i + 1}" for i in range(len(prompts)))), entries)


def _one_line(row: Row, index: int) -> str:
    samples = row.get("samples") or ()
    return " ".join(samples[index].split()) if index < len(samples) else MISSING


def _figure(rows: Sequence[Row]) -> Any:
    """Return the plot: perplexity over size, and accuracies over size where there are some."""
    tasks = dict.fromkeys(name for row in rows for name in row.get("zero_shot") or {})
    figure, axes = panels(2 if tasks else 1, size=(5.4, 3.6))
    judged = [row for row in rows if math.isfinite(row["perplexity"])]
    points = [(row, row["perplexity"]) for row in judged]
    _draw(axes[0], points, "perplexity", 0)
    for row, value in points:
        place = row["params"] / 1e6, value
        axes[0].annotate(
            name_of(row), place, (4, 5), textcoords="offset points", color=INK, fontsize=7
        )
    found = [row["perplexity"] for row in judged]
    if found and max(found) > 10 * min(found):
        axes[0].set_yscale("log")
    name_axes(axes[0], "parameters, millions", "perplexity")
    for index, task in enumerate(tasks, 1):
        scored = [(r, (r.get("zero_shot") or {}).get(task)) for r in rows]
        points = [(row, 100 * score["accuracy"]) for row, score in scored if score]
        _draw(axes[1], points, task.replace("$", r"\$"), index)  # no formula
        name_axes(axes[1], "parameters, millions", "right answers, %")
    legend(figure, axes)
    return figure


def _draw(axis: Any, points: Sequence[tuple[Row, float]], label: str, index: int) -> None:
    """Draw one series; the parent is a star."""
    places = [(row["params"] / 1e6, value) for row, value in points]
    axis.plot(*zip(*places, strict=True) if places else ((), ()), **style(index), label=label)
    for (row, _), place in zip(points, places, strict=True):
        if row["ratio"] == 1:
            axis.plot(*place, color=INK, marker="*", markersize=9, linestyle="none")
    axis.margins(0.15, 0.2)


def speeds_of(path: Path) -> Speeds:
    """Return the tokens a second of a file of `language_speed`; nothing where there is none.

    Raises:
        ConfigError: it is another file, or damaged.
    """
    if not path.is_file():
        return {}
    found: dict[tuple[str, int], dict[str, tuple[float, float]]] = {}
    try:
        for row in read_json(path, ConfigError)["rows"]:
            model = str(row["model"]).partition(": ")[2], int(row["params"])
            times = float(row["tokens_per_second"]), float(row["speedup"]["median"])
            found.setdefault(model, {})[str(row["what"])] = times
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: not of `python -m ms_eff.bench.language_speed` ({error!r}); move it away"
        ) from error
    return found
