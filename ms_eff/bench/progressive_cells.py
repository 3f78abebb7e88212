"""The training-free table: its cells in order, losses that share out a budget, references."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ALLOCATIONS",
    "ASVD",
    "CELLS",
    "LOSSES",
    "REFERENCE",
    "RULES",
    "SHARES",
    "TWICE",
    "ordered",
    "table",
]

Array = NDArray[np.float64]
Cell = tuple[str, str]

# a rival: `ms_eff.bench.rivals.asvd`
ASVD = "asvd"
# two_sided with statistics measured once more on its own member: `progressive.passes: 2`
TWICE = "two_sided_twice"
RULES = ("plain", ASVD, "activation_aware", "two_sided")
SHARES = (0.1, 0.2, 0.3, 0.4, 0.6)

# one budget over all matrices by other losses than the rule's own: energies and mean squared output
# gradient -> what ranks 1, 2, .. lose
LOSSES: dict[str, Callable[[Array, float], Array]] = {
    "global_raw": lambda energies, gradient: _tails(energies),
    "global_relative": lambda energies, gradient: _tails(energies) / max(energies.sum(), 1e-300),
    "global_gradient": lambda energies, gradient: _tails(energies) * gradient,
}
ALLOCATIONS = ("uniform", "global", *LOSSES)

# rule -> allocation of the table, those with a reference first
CELLS: tuple[Cell, ...] = (
    ("activation_aware", "uniform"),
    ("two_sided", "global"),
    *((ours, "uniform") for ours in ("plain", ASVD)),
    *((ours, "global") for ours in ("plain", ASVD, "activation_aware")),
    ("two_sided", "uniform"),
    # losses of plain and asvd are no better a guide, and two_sided's are the network's as they are
    *(("activation_aware", allocation) for allocation in LOSSES),
)

# SmolLM2-135M on WikiText-2's first 20,480 tokens, by an independent torch program
REFERENCE: Mapping[Cell, Mapping[float, float]] = {
    ("dense", ""): {0.0: 20.63},
    ("activation_aware", "uniform"): {0.1: 36.0, 0.2: 44.7, 0.3: 61.4, 0.4: 95.9, 0.6: 300.0},
    ("activation_aware", "global_raw"): {0.1: 134.0, 0.2: 302.0, 0.3: 920.0, 0.4: 2112, 0.6: 5.9e4},
    ("activation_aware", "global_relative"): {0.1: 32.0, 0.2: 49.8, 0.3: 109, 0.4: 437, 0.6: 4865},
    ("activation_aware", "global_gradient"): {0.2: 28.3, 0.4: 71.4},
    ("two_sided", "global"): {0.1: 21.9, 0.2: 26.0, 0.4: 41.0},
}


def ordered(rules: Sequence[str], allocations: Sequence[str] | None = None) -> list[Cell]:
    """Return the cells to measure, those with a reference first.

    Args:
        rules: which.
        allocations: of every rule; None takes those of the table.

    >>> ordered(["plain", "two_sided"])[0]
    ('two_sided', 'global')
    >>> ordered(["plain"], ["global_raw"])
    [('plain', 'global_raw')]
    """
    if allocations is None:
        return [cell for cell in CELLS if cell[0] in rules]
    asked = [(rule, allocation) for rule in rules for allocation in allocations]
    return [c for c in CELLS if c in asked] + [c for c in asked if c not in CELLS]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as text, the references behind them in brackets.

    >>> row = {"rule": "dense", "allocation": "", "removed": 0.0, "perplexity": 20.6}
    >>> print(" ".join(table([row]).splitlines()[-1].split()))
    dense 20.6 [20.63]
    """
    shares = (0.0, *SHARES)
    heads = ("dense", *(f"{100 * share:.0f} %" for share in SHARES))
    lines = [f"{'rule':<18}{'allocation':<16}" + "".join(f"{head:>18}" for head in heads)]
    for rule, allocation in dict.fromkeys((r["rule"], r["allocation"]) for r in rows):
        found = {
            r["removed"]: r["perplexity"]
            for r in rows
            if (r["rule"], r["allocation"]) == (rule, allocation)
        }
        known = REFERENCE.get((rule, allocation), {})
        cells = (_cell(found.get(s), known.get(s)) for s in shares)
        lines.append(f"{rule:<18}{allocation:<16}" + "".join(cells).rstrip())
    return "\n".join(lines)


def _tails(energies: Array) -> Array:
    """Return the sums beyond ranks 1, 2, ..: of the last entry, what no rank keeps, all ranks less.

    >>> _tails(np.array([4.0, 2.0, 1.0])).tolist()
    [3.0, 1.0]
    """
    tails: Array = np.cumsum(energies[::-1])[::-1][1:]
    return tails


def _cell(found: float | None, known: float | None) -> str:
    text = "" if found is None else f"{found:.1f}" if found < 1e4 else f"{found:.1e}"
    return f"{text + (f' [{known:g}]' if text and known else ''):>18}"
