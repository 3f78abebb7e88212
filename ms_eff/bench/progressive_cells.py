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
    "IN_ORDER",
    "LOSSES",
    "REFERENCE",
    "RULES",
    "SHARES",
    "TWICE",
    "ordered",
    "table",
    "verdicts",
]

Array = NDArray[np.float64]
Cell = tuple[str, str]

# rivals: `ms_eff.bench.rivals.asvd`, and activation_aware block by block (`...rivals.in_order`)
ASVD, IN_ORDER = "asvd", "activation_aware_in_order"
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

# how near to a reference a row has to come, relative
WITHIN = 0.03
# SmolLM2-135M on WikiText-2's first 20,480 tokens, by an independent torch program
REFERENCE: Mapping[Cell, Mapping[float, float]] = {
    ("dense", ""): {0.0: 20.63},
    ("activation_aware", "uniform"): {0.1: 36.0, 0.2: 44.7, 0.3: 61.4, 0.4: 95.9, 0.6: 300.0},
    (IN_ORDER, "uniform"): {0.2: 44.8, 0.4: 81.5},
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
    lines = [f"{'rule':<26}{'allocation':<16}" + "".join(f"{head:>18}" for head in heads)]
    for rule, allocation in dict.fromkeys((r["rule"], r["allocation"]) for r in rows):
        found = {
            r["removed"]: r["perplexity"]
            for r in rows
            if (r["rule"], r["allocation"]) == (rule, allocation)
        }
        known = REFERENCE.get((rule, allocation), {})
        cells = (_cell(found.get(s), known.get(s)) for s in shares)
        lines.append(f"{rule:<26}{allocation:<16}" + "".join(cells).rstrip())
    return "\n".join(lines)


def verdicts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say whether the references were reproduced, and whether their best was beaten.

    >>> row = {"rule": "two_sided", "allocation": "global", "removed": 0.2, "perplexity": 25.0}
    >>> first, second = verdicts([row])
    >>> first
    '0 of 1 references reproduced within 3 %; farthest: two_sided global, 20 % removed: -3.8 %'
    >>> second
    "20 % removed: best two_sided global, 25.0; the references' best 26: beaten"
    """
    places = [((row["rule"], row["allocation"]), row["removed"], row) for row in rows]
    off = {
        f"{' '.join(cell)}, {share:.0%} removed".replace("%", " %"): row["perplexity"] / known - 1
        for cell, share, row in places
        if (known := REFERENCE.get(cell, {}).get(share))
    }
    lines = []
    if off:
        close = sum(abs(value) <= WITHIN for value in off.values())
        worst = max(off, key=lambda place: abs(off[place]))
        lines.append(
            f"{close} of {len(off)} references reproduced within {100 * WITHIN:g} %; farthest: "
            f"{worst}: {100 * off[worst]:+.1f} %"
        )
    for share in SHARES:
        known = min((found[share] for found in REFERENCE.values() if share in found), default=None)
        own = [row for _, removed, row in places if removed == share]
        if own and known:
            best = min(own, key=lambda row: float(row["perplexity"]))
            beaten = "beaten" if best["perplexity"] < known else "NOT beaten"
            lines.append(
                f"{100 * share:.0f} % removed: best {best['rule']} {best['allocation']}, "
                f"{best['perplexity']:.1f}; the references' best {known:g}: {beaten}"
            )
    return lines


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
