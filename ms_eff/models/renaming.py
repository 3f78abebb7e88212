"""Renaming weights: rows that pair names here and in another library, read in both directions.

A row pairs a cell of ours with the same layer elsewhere. `{s}` stands for a number, `{s+1}` for
one more than the other side's. What follows the cell's name (`weight`, or a low-rank factor's
`0.weight`) is kept, with the last part renamed by the row's leaf table. Layers that are one here
and several there are joined and split by a `Join`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

__all__ = ["NORM", "PLAIN", "Arrays", "Join", "Naming", "Row"]

Arrays = dict[str, np.ndarray]

PLAIN: Mapping[str, str] = {}
# MindSpore's names of a normalisation's arrays -> torch's
NORM: Mapping[str, str] = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@dataclass(frozen=True)
class Row:
    """One kind of layer: our cell's name, its name there, and how its arrays are called.

    Without leaves (None) the names are those of arrays, and nothing may follow them.
    """

    ours: str
    theirs: str
    leaves: Mapping[str, str] | None

    def to_ours(self, key: str) -> str | None:
        """Translate their key, or return None if this row is about other layers."""
        back = None if self.leaves is None else {v: k for k, v in self.leaves.items()}
        return _translate(key, self.theirs, self.ours, back)

    def to_theirs(self, key: str) -> str | None:
        """Translate our key, or return None if this row is about other layers."""
        return _translate(key, self.ours, self.theirs, self.leaves)


@dataclass(frozen=True)
class Join:
    """Arrays that are one here, stacked along the first axis, and several there.

    Attributes:
        whole: the end of the name that the stack has in the naming's rows.
        parts: the ends of their names, in the order of the stack.
    """

    whole: str
    parts: tuple[str, ...]

    def join(self, arrays: Arrays) -> Arrays:
        """Stack their arrays; those of which a part is missing stay as they are."""
        done = dict(arrays)
        for key in arrays:
            stem = key.removesuffix(self.parts[0])
            names = [stem + part for part in self.parts]
            if stem != key and all(name in arrays for name in names):
                done[stem + self.whole] = np.concatenate([done.pop(name) for name in names])
        return done

    def split(self, arrays: Arrays) -> Arrays:
        """Take the stacks apart again."""
        done = dict(arrays)
        for key in arrays:
            stem = key.removesuffix(self.whole)
            if stem != key:
                pieces = np.split(done.pop(key), len(self.parts))
                done |= {stem + part: a for part, a in zip(self.parts, pieces, strict=True)}
        return done


@dataclass(frozen=True)
class Naming:
    """A library's names for the weights of one family of networks.

    Attributes:
        rows: tried in order; the first that fits decides.
        ignored: keys of theirs that have no counterpart here, as a regular expression.
        note: what a user of such weights should know.
        ours_only: keys of ours that have no counterpart there, as a regular expression.
        joins: what is several arrays there; `rows` speak of the joined ones.
        transposed: keys of theirs whose matrices are (in, out), as a regular expression.
    """

    rows: tuple[Row, ...]
    ignored: str = r"(?!)"
    note: str = ""
    joins: tuple[Join, ...] = ()
    ours_only: str = r"(?!)"
    transposed: str = r"(?!)"

    @cached_property
    def _ignored(self) -> re.Pattern[str]:
        return re.compile(self.ignored)

    def ignores(self, key: str) -> bool:
        """Tell whether their key is known to have no counterpart."""
        return self._ignored.search(key) is not None

    def keeps(self, key: str) -> bool:
        """Tell whether our key is known to have no counterpart."""
        return re.search(self.ours_only, key) is not None

    def to_ours(self, key: str) -> str | None:
        """Return our name of their key, or None.

        >>> Naming((Row("layer{s+1}.fc", "stages.{s}.fc", PLAIN),)).to_ours("stages.1.fc.bias")
        'layer2.fc.bias'
        """
        return next((new for row in self.rows if (new := row.to_ours(key)) is not None), None)

    def to_theirs(self, key: str) -> str | None:
        """Return their name of our key, or None.

        >>> Naming((Row("bn{c}", "bn{c}", NORM),)).to_theirs("bn1.moving_mean")
        'bn1.running_mean'
        """
        return next((new for row in self.rows if (new := row.to_theirs(key)) is not None), None)

    def join(self, arrays: Arrays) -> Arrays:
        """Return their arrays the way round that ours are, with those joined that are one here."""
        arrays = self._turned(arrays)
        for join in self.joins:
            arrays = join.join(arrays)
        return arrays

    def renamed(self, arrays: Arrays) -> Arrays | None:
        """Return our arrays as theirs, or None if one of them has no name there."""
        known = {key: array for key, array in arrays.items() if not self.keeps(key)}
        named = {self.to_theirs(key): array for key, array in known.items()}
        if None in named:
            return None
        theirs = {str(key): array for key, array in named.items()}
        for join in self.joins:
            theirs = join.split(theirs)
        return self._turned(theirs)

    def _turned(self, theirs: Arrays) -> Arrays:
        turn = re.compile(self.transposed)
        return {key: a.T if turn.search(key) else a for key, a in theirs.items()}


_HOLE = re.compile(r"\{(\w+)([+-]\d+)?\}")


def _translate(key: str, source: str, target: str, leaves: Mapping[str, str] | None) -> str | None:
    found = _pattern(source, leaves is not None).fullmatch(key)
    if found is None or (leaves and found["leaf"] not in leaves):
        return None
    # a hole's number counts from the same origin on both sides: {s+1} is written one higher
    origin = {hole[1]: int(found[hole[1]]) - int(hole[2] or 0) for hole in _HOLE.finditer(source)}
    cell = _HOLE.sub(lambda hole: str(origin[hole[1]] + int(hole[2] or 0)), target)
    if leaves is None:
        return cell
    return f"{cell}{found['inner']}.{leaves.get(found['leaf'], found['leaf'])}"


@cache
def _pattern(template: str, followed: bool) -> re.Pattern[str]:
    parts = []
    end = 0
    for hole in _HOLE.finditer(template):
        parts += [re.escape(template[end : hole.start()]), rf"(?P<{hole[1]}>\d+)"]
        end = hole.end()
    parts.append(re.escape(template[end:]))
    if followed:
        parts.append(r"(?P<inner>(\.\w+)*)\.(?P<leaf>\w+)")
    return re.compile("".join(parts))
