"""The comparison and the layers of a run as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from ms_eff.report.numbers import MISSING, percent
from ms_eff.report.rank_search import about_network
from ms_eff.report.tables import Entry, Table, about_layers, comparison, layers, remarks, stages_of

__all__ = ["family_table", "layer_table", "terminal_table"]


def terminal_table(results: Mapping[str, Any]) -> RichTable:
    """Return the comparison of all stages: accuracy, size, latency with spread, export gaps.

    Args:
        results: what `results.json` holds.

    Raises:
        DataError: these are no results of a run.
    """
    stages = stages_of(results)
    table = comparison(stages, narrow=True)
    words = " ".join(remarks(stages))
    return _shown(table, words)


def family_table(rows: Sequence[Mapping[str, Any]]) -> RichTable:
    """Return the members of a family of language models: size against perplexity.

    Args:
        rows: of `family.json`.
    """
    tasks = dict.fromkeys(name for row in rows for name in row.get("zero_shot") or {})
    columns = ("member", "parameters", "block linears", "perplexity", *tasks)
    table = RichTable(*columns, box=box.SIMPLE)
    for row in rows:
        name = "parent" if row["ratio"] == 1 else f"ratio {row['ratio']:g}"
        sizes = f"{row['params']:,}", f"{row['block_params']:,}"
        scores = ((row.get("zero_shot") or {}).get(task) for task in tasks)
        shares = (MISSING if score is None else percent(score["accuracy"]) for score in scores)
        table.add_row(name, *sizes, f"{row['perplexity']:.2f}", *shares)
    return table


def layer_table(method: str, report: Mapping[str, Any]) -> RichTable:
    """Return what a method did to each layer, and why it left some.

    Args:
        method: its name, for the title.
        report: what the method recorded; its `layers` are shown, or else its `summary`.
    """
    found = report.get("layers") or []
    if not found:
        line = RichTable.grid()
        line.add_row(f"{method}: {report.get('summary', 'changed no single layers')}")
        return line
    words = " ".join(filter(None, [about_layers(found), about_network(report.get("network"))]))
    return _shown(layers(found, narrow=True), words, title=f"{method}, layer by layer")


def _shown(table: Table, words: str, title: str | None = None) -> RichTable:
    shown = RichTable(
        title=title,
        box=box.SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
        caption=words or None,
        caption_justify="left",
        title_justify="left",
    )
    for index, column in enumerate(table.columns):
        right = bool(table.rows) and table.rows[0][index].number
        shown.add_column(
            column, justify="right" if right else "left", overflow="fold", no_wrap=index == 0
        )
    for index, row in enumerate(table.rows):
        shown.add_row(
            *(_text(entry) for entry in row), style="dim" if index in table.faint else None
        )
    return shown


def _text(entry: Entry) -> Text:
    text = Text(entry.text)
    for line in entry.detail:
        text.append(f"\n{line}", style="dim")
    return text
