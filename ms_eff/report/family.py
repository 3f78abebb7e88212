"""A family: some work that several methods do, and who does it.

The page of `comparison.py` has a part for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ms_eff.bench.rows import Kind, read_rows
from ms_eff.errors import ConfigError
from ms_eff.files import read_json

__all__ = ["Contender", "Family", "Found", "Measure", "criteria_reader", "rows_reader"]

Row = Mapping[str, Any]
Timed = Callable[[Mapping[str, Any], Mapping[str, Any] | None], list[Row]]


@dataclass(frozen=True)
class Measure:
    """A column of numbers.

    Attributes:
        key: of the rows.
        title: of the column and of the axis.
        scale: what the recorded number is multiplied by.
        digits: behind the point.
    """

    key: str
    title: str
    scale: float = 1.0
    digits: int = 2


@dataclass(frozen=True)
class Contender:
    """A row of a family.

    Attributes:
        side: `ours`, a `rival` that one would pick instead, or what both are held against.
        what: it is.
    """

    side: Literal["ours", "rival", "reference"]
    what: str


@dataclass(frozen=True)
class Found:
    """What a file holds: the rows, and the calls that measured them."""

    rows: Sequence[Row]
    calls: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Family:
    """Some work, and who does it.

    Attributes:
        title: of its part of the page.
        what: the work is, and how it is judged.
        file: of the results.
        make: the command that measures.
        read: path -> what it holds.
        name: columns whose values, joined, are a contender's name.
        contenders: by name, in the order of the table; rows of others are left out.
        quality: what is judged.
        cost: what it is plotted against.
        more: further columns.
        panels: columns whose values are compared by themselves: models, tasks.
        along: what one contender has several values of, which are joined in the plot.
        logarithmic: whether quality is plotted so.
    """

    title: str
    what: str
    file: str
    make: str
    read: Callable[[Path], Found]
    name: tuple[str, ...]
    contenders: Mapping[str, Contender]
    quality: Measure
    cost: Measure
    more: tuple[Measure, ...] = ()
    panels: tuple[str, ...] = ()
    along: Measure | None = None
    logarithmic: bool = field(default=False, kw_only=True)

    def name_of(self, row: Row) -> str:
        """Return the name of a row's contender."""
        return ", ".join(str(row[column]) for column in self.name if row.get(column))


def rows_reader(kind: Kind, timed: Timed | None = None) -> Callable[[Path], Found]:
    """Return a reader; where seconds were timed apart, they take the place of the runs' own."""

    def read(path: Path) -> Found:
        results = read_rows(path, kind)
        calls, beside = list(results["calls"]), path.with_name(f"{path.stem}_time.json")
        if timed is None or not beside.exists():
            return Found(results["rows"], calls)
        timing = read_json(beside, ConfigError)
        return Found(timed(results, timing), [*calls, timing["environment"]])

    return read


def criteria_reader(path: Path) -> Found:
    """Read the networks of `ms_eff.bench.criteria`; `NAME, seed N` are seeds of one network."""
    found = read_json(path, ConfigError)
    networks = found.get("networks") if isinstance(found, dict) else None
    if not isinstance(networks, dict) or not all(
        isinstance(own, dict) and own.keys() >= {"dense", "rows", "environment"}
        for own in networks.values()
    ):
        raise ConfigError(f"{path}: not rows of `python -m ms_eff.bench.criteria`; move it away")

    def rows() -> Iterator[Row]:
        for name, own in networks.items():
            network, _, seed = name.partition(", seed ")
            whole = {"criterion": "dense", "allocation": "", "ratio": 1.0, "params": 1.0}
            for row in ({**whole, **own["dense"]}, *own["rows"]):
                score = row.get("accuracy", row.get("agreement"))
                yield {**row, "network": network, "seed": seed or None, "score": score}

    return Found(list(rows()), [own["environment"] for own in networks.values()])
