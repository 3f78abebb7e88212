"""Has anything become slower: recorded ratios beside new ones.

`python -m ms_eff.bench.guard results runs/guard` compares every `ratio` (to a rival's time: less is
better) and `speedup` (over the dense network: more is better) of the files in both folders with
what was recorded; one that is no longer measured counts as worse. Absolute times are left alone:
they are the machine's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_eff.errors import ConfigError, UserError
from ms_eff.files import read_json

__all__ = ["Change", "Figure", "compare", "figures", "main"]

_BAND = ("median", "p10", "p90")
_LESS_IS_BETTER = {"ratio": True, "speedup": False}


@dataclass(frozen=True)
class Figure:
    """A measured ratio: the median of its runs, and the band from their 10th to 90th percentile."""

    median: float
    p10: float
    p90: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.p10:.3f}-{self.p90:.3f})"


@dataclass(frozen=True)
class Change:
    """One figure, then and now.

    Attributes:
        name: where it stands in its file.
        less_is_better: whether it is a `ratio`.
        before: as recorded.
        now: as just measured; None: it is not there any more.
    """

    name: str
    less_is_better: bool
    before: Figure
    now: Figure | None

    @property
    def worse(self) -> bool:
        """Whether the bands lie apart, the new one on the bad side, or it is no longer measured.

        >>> Change("x", True, Figure(0.8, 0.7, 0.9), Figure(1.1, 1.0, 1.2)).worse
        True
        >>> Change("x", True, Figure(0.8, 0.7, 0.9), Figure(0.9, 0.85, 1.2)).worse
        False
        """
        if self.now is None:
            return True
        if self.less_is_better:
            return self.now.p10 > self.before.p90
        return self.now.p90 < self.before.p10

    def __str__(self) -> str:
        verdict = "GONE" if self.now is None else "WORSE" if self.worse else "ok"
        return f"{verdict:<6}{self.name}: {self.before} -> {self.now or 'not measured'}"


def figures(content: Any, place: str = "") -> Iterator[tuple[str, bool, Figure]]:
    """Find the ratios of a results file: name, whether less is better, the figure.

    >>> list(figures({"step": {"ratio": {"median": 1.0, "p10": 0.9, "p90": 1.2}}}))
    [('step.ratio', True, Figure(median=1.0, p10=0.9, p90=1.2))]
    """
    items: Sequence[tuple[Any, Any]] = ()
    if isinstance(content, Mapping):
        items = list(content.items())
    elif isinstance(content, list):
        items = list(enumerate(content))
    for key, value in items:
        name = f"{place}.{key}" if place else str(key)
        if key in _LESS_IS_BETTER and isinstance(value, Mapping) and value.keys() >= set(_BAND):
            yield name, _LESS_IS_BETTER[key], Figure(*(float(value[part]) for part in _BAND))
        else:
            yield from figures(value, name)


def compare(before: Path, now: Path) -> list[Change]:
    """Return what became of the recorded figures of the files that both folders have.

    Raises:
        ConfigError: a file is missing or damaged, or there is nothing to compare.
    """
    pairs = [(before, now)]
    if now.is_dir():
        pairs = [(before / new.name, new) for new in sorted(now.glob("*.json"))]
    changes = []
    for old, new in pairs:
        again = {name: figure for name, _, figure in figures(read_json(new, ConfigError))}
        changes += [
            Change(f"{new.stem}: {name}", less, figure, again.get(name))
            for name, less, figure in figures(read_json(old, ConfigError))
        ]
    if all(change.now is None for change in changes):
        raise ConfigError(f"{now}: no ratio there that {before} has too; run the benchmarks first")
    return changes


def main(arguments: Sequence[str] | None = None) -> int:
    """Print figures then and now; return 1 if one is worse or gone, 2 for misuse."""
    parser = argparse.ArgumentParser(prog="python -m ms_eff.bench.guard", description=__doc__)
    parser.add_argument("before", type=Path, help="recorded results: a file, or a folder of them")
    parser.add_argument("now", type=Path, help="new ones")
    options = parser.parse_args(arguments)
    try:
        changes = compare(options.before, options.now)
    except UserError as error:
        print(f"guard: {error}", file=sys.stderr)
        return 2
    print("\n".join(map(str, changes)))
    worse = sum(change.worse for change in changes)
    print(f"{len(changes)} ratios compared, {worse} worse by more than noise, or gone")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
