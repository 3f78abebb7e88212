"""The ViT tables as Markdown, from the recorded rows; imports no MindSpore."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ms_eff.bench.lowrank_speed_table import change, gain

__all__ = ["lines", "met"]

# of the gain in throughput that the MACs of token skipping promise
_SHARE = 0.8

_GROUPED = (
    "model", "qkv width", "parameters", "M (change, %)", "paper M", "MACs, G (change, %)",
    "training step, ms", "gain, %", "paper's gain, % (a batch of 288)", "inference, ms",
    "gain, %",
)  # fmt: skip
_SKIPPING = (
    "reduced blocks", "parameters", "MACs, G", "ideal gain, %", "training step, ms", "gain, %",
    "of the ideal", "wanted", "paper's gain, %", "inference, ms", "gain, %", "of the ideal",
)  # fmt: skip


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of both tables; gains in throughput against the plain network, in %.

    Args:
        rows: as `ms_eff.bench.vit_variants` records them.
    """
    found: list[str] = []
    for methods, titles, cells in (
        (("gqkva",), _GROUPED, _grouped), (("skipvit", "tome"), _SKIPPING, _skipping)
    ):  # fmt: skip
        chosen = [row for row in rows if row["method"] in methods]
        if chosen:
            found += ["", *_table(titles, (cells(row) for row in chosen))]
    return found[1:]


def met(row: Mapping[str, Any]) -> dict[str, bool]:
    """Tell which demands a row meets: its gain in training, and its share of the ideal one."""
    training = row["training"]
    found = {}
    if row["wanted"] is not None:
        found["gain"] = 100 * (training["speedup"]["median"] - 1) >= row["wanted"]
    if row["method"] == "skipvit":
        found["share"] = training["share_of_gain"] >= _SHARE
    return found


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    table = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    return table + ["| " + " | ".join(row) + " |" for row in rows]


def _grouped(row: Mapping[str, Any]) -> list[str]:
    params, macs = row["params"], row["macs"]
    return [
        row["variant"],
        str(row["qkv_width"]),
        f"{params['changed']:,}",
        f"{params['changed'] / 1e6:.2f} ({change(params, 2)})",
        f"{row['paper']['params']:.2f}",
        f"{macs['changed'] / 1e9:.3f} ({change(macs, 2)})",
        _time(row["training"]),
        gain(row["training"]["speedup"], 1),
        f"{row['paper']['gain']:+.2f} ({row['paper']['ms']:.2f} ms)",
        _time(row["inference"]),
        gain(row["inference"]["speedup"], 1),
    ]


def _skipping(row: Mapping[str, Any]) -> list[str]:
    training, inference, reached = row["training"], row["inference"], met(row)
    wanted = [] if row["wanted"] is None else [f"{row['wanted']:+g} {_said(reached['gain'])}"]
    if "share" in reached:
        wanted.append(f"{100 * _SHARE:.0f} % of the ideal {_said(reached['share'])}")
    return [
        row["variant"],
        f"{row['params']['changed']:,}",
        f"{row['macs']['changed'] / 1e9:.3f}",
        f"{100 * (training['bound'] - 1):+.2f}",
        _time(training),
        gain(training["speedup"], 1),
        f"{100 * training['share_of_gain']:.0f} %",
        ", ".join(wanted),
        f"{row['paper']['gain']:+.2f}" if row["paper"] else "",
        _time(inference),
        gain(inference["speedup"], 1),
        f"{100 * inference['share_of_gain']:.0f} %",
    ]


def _said(reached: bool) -> str:
    return "met" if reached else "NOT met"


def _time(part: Mapping[str, Any]) -> str:
    return f"{part['changed']['median_ms']:.0f} against {part['dense']['median_ms']:.0f}"
