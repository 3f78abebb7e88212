"""The speed table as Markdown, from the recorded rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["change", "gain", "lines", "met"]

_TITLES = (
    "network", "variant", "layers changed", "weights", "MACs",
    "training", "of its bound", "wanted", "inference", "norms folded", "of its bound", "wanted",
    "papers",
)  # fmt: skip


def lines(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the table's lines; gains in throughput against the dense network, in %.

    Args:
        rows: as `ms_eff.bench.lowrank_speed` records them.
    """
    table = ["| " + " | ".join(_TITLES) + " |", "|" + "---|" * len(_TITLES)]
    return table + ["| " + " | ".join(_cells(row)) + " |" for row in rows.values()]


def met(row: Mapping[str, Any]) -> dict[str, bool]:
    """Tell which demands a row meets; inference counts as it is deployed, with its norms folded."""
    found = {"training": row["training"], "inference": _deployed(row)}
    return {
        kind: 100 * (found[kind]["speedup"]["median"] - 1) >= wanted
        for kind, wanted in row["wanted"].items()
    }


def _deployed(row: Mapping[str, Any]) -> Mapping[str, Any]:
    part: Mapping[str, Any] = row["inference"].get("folded", row["inference"])
    return part


def _cells(row: Mapping[str, Any]) -> list[str]:
    case, training, inference = row["case"], row["training"], row["inference"]
    folded = inference.get("folded")
    paper, reached = row.get("paper"), met(row)
    return [
        case["model"],
        case["variant"],
        str(row["decomposed"]),
        change(row["params"]),
        change(row["macs"]),
        gain(training["speedup"]),
        _share(training),
        _wanted(row, reached, "training"),
        gain(inference["speedup"]),
        gain(folded["speedup"]) if folded else "has none",
        _share(_deployed(row)),
        _wanted(row, reached, "inference"),
        f"{paper[0]:+.1f} / {paper[1]:+.1f}" if paper else "",
    ]


def _wanted(row: Mapping[str, Any], reached: Mapping[str, bool], kind: str) -> str:
    return f"{row['wanted'][kind]:+d}: {'met' if reached[kind] else 'NOT met'}"


def change(sizes: Mapping[str, int], digits: int = 1) -> str:
    """Return by how much the `changed` one differs from the `dense` one, in %.

    >>> change({"dense": 200, "changed": 150})
    '-25.0'
    """
    return f"{100 * (sizes['changed'] / sizes['dense'] - 1):+.{digits}f}"


def gain(speedup: Mapping[str, float], digits: int = 0) -> str:
    """Return a gain in throughput and its spread, in %.

    >>> gain({"median": 1.5, "p10": 1.2, "p90": 2.0})
    '+50 (+20 to +100)'
    """
    median, low, high = (100 * (speedup[key] - 1) for key in ("median", "p10", "p90"))
    return f"{median:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def _share(part: Mapping[str, Any]) -> str:
    allowed = 100 * (part["bound"] - 1)
    return f"{100 * part['share_of_bound']:.0f} % of {allowed:+.0f}"
