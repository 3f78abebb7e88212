"""Sharing by broadcast against one copy a head, for each kind of attention: `make bench`.

`ms_eff.models.attention.SHARING` holds which of the two each backend takes. Time is measured with
both in turns, in one process a kind; memory in a process of its own for each.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ms_eff.bench import environment
from ms_eff.bench.child import isa_variables, measured_apart
from ms_eff.bench.timers import compare
from ms_eff.errors import DataError
from ms_eff.files import replacing
from ms_eff.models.heads import HeadLayout, head_layout
from ms_eff.runtime import DeviceSettings, prepare_cpu, setup

__all__ = ["KINDS", "main", "measure", "peak_mib"]

_MODULE = "ms_eff.bench.sharing"
_HOW = ("broadcast", "repeat")
_HEADS, _HEAD_DIM = 6, 64  # of ViT-S
# the kinds that share, by the names of arXiv:2311.03426
KINDS: dict[str, tuple[str, Any]] = {
    "GQA-3": ("gqa", 3),
    "MQA": ("mqa", None),
    "GKVA-3": ("gkva", 3),
    "MKVA": ("mkva", None),
    "GQKVA-2.3": ("gqkva", (2, 3)),
}


def measure(name: str, batch: int, tokens: int, runs: int) -> dict[str, Any]:
    """Time attention between its dense layers, both ways in turns.

    Args:
        name: one of `KINDS`.
        batch: sequences at a time.
        tokens: of a sequence.
        runs: rounds that count, after three that do not.

    Returns:
        JSON: for `forward` and `gradient` (forward and backward) the times of both ways, and
        `speedup`, how many times faster broadcasting is, with its spread.
    """
    work = {how: _work(name, how, batch, tokens) for how in _HOW}
    found: dict[str, Any] = {}
    for index, kind in enumerate(("forward", "gradient")):
        times = compare({how: pair[index] for how, pair in work.items()}, 3, runs)
        found[kind] = {how: times.summary(how).to_dict() for how in _HOW}
        found[kind]["speedup"] = times.speedup("broadcast", "repeat").to_dict()
    return found


def peak_mib(name: str, how: str, batch: int, tokens: int) -> float:
    """Return how much memory this process takes more at most, after a few gradients, in MiB.

    MindSpore's own counters know no CPU. Call it in a process that has computed nothing yet.
    """
    _, gradient = _work(name, how, batch, tokens)
    before = _peak()
    for _ in range(3):
        gradient()
    return _peak() - before


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all kinds, write the results and print the table."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/sharing.json"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=197, help="of ViT-S/16 at 224 by default")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--one", choices=list(KINDS), help="one kind here, JSON to stdout")
    parser.add_argument("--memory", choices=_HOW, help="with --one: its memory instead of times")
    options = parser.parse_args(words)
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before anything is measured
    if options.one:
        setup(DeviceSettings(isa="native"))
        sizes = options.batch, options.tokens
        found = (
            {"peak_mib": peak_mib(options.one, options.memory, *sizes)}
            if options.memory
            else measure(options.one, *sizes, options.runs)
        )
        print(json.dumps(found))
        return 0
    prepare_cpu("native")  # for the record: the children choose for themselves
    rows = {name: _row(name, options) for name in KINDS}
    command = shlex.join(["python", "-m", _MODULE, *words])
    results = {
        "environment": environment.describe(command, seed=0),
        "batch": options.batch,
        "tokens": options.tokens,
        "rows": rows,
    }
    with replacing(options.output, DataError) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print("\n".join(_lines(rows)))
    return 0


def _row(name: str, options: argparse.Namespace) -> dict[str, Any]:
    sizes = ["--one", name, "--batch", str(options.batch), "--tokens", str(options.tokens)]
    variables = isa_variables("native")
    row = measured_apart(name, _MODULE, [*sizes, "--runs", str(options.runs)], variables)
    row["peak_mib"] = {
        how: measured_apart(name, _MODULE, [*sizes, "--memory", how], variables)["peak_mib"]
        for how in _HOW
    }
    return row


def _lines(rows: dict[str, dict[str, Any]]) -> list[str]:
    titles = ["kind"]
    for kind in ("forward", "gradient"):
        titles += [f"{kind}: broadcast, ms", "repeat, ms", "broadcast is faster by"]
    titles += ["memory: broadcast, MiB", "repeat, MiB"]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for name, row in rows.items():
        cells = [name]
        for kind in ("forward", "gradient"):
            cells += [f"{row[kind][how]['median_ms']:.2f}" for how in _HOW]
            speedup = row[kind]["speedup"]
            cells.append(f"{speedup['median']:.2f}x ({speedup['p10']:.2f} to {speedup['p90']:.2f})")
        cells += [f"{row['peak_mib'][how]:.0f}" for how in _HOW]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _work(
    name: str, how: str, batch: int, tokens: int
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return the forward and the gradient of a core."""
    import mindspore as ms
    from mindspore import ops

    from ms_eff.models.attention import attention_core

    layout: HeadLayout = head_layout(KINDS[name][0], _HEADS, KINDS[name][1])
    core = attention_core(layout, _HEAD_DIM, how)
    shape = (batch, tokens, layout.projections * _HEAD_DIM)
    qkv = ms.Tensor(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))

    def loss(x: ms.Tensor) -> ms.Tensor:
        return ops.reduce_sum(ops.square(core(x)[0]))

    gradient = ms.jit(ms.value_and_grad(loss))
    return lambda: core(qkv)[0], lambda: gradient(qkv)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


if __name__ == "__main__":
    sys.exit(main())
