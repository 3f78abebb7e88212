"""How long a ResNet's decomposition takes, and how much memory: `make bench`.

Each run is a process of its own, so that neither caches nor an earlier run's memory count.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ms_eff.bench import environment
from ms_eff.bench.child import measured_apart
from ms_eff.files import replacing
from ms_eff.runtime import prepare_cpu

__all__ = ["CASES", "Case", "main", "measure", "peak_bytes"]

STEM_AND_SHORTCUTS = ("conv1", "*.downsample.*")


@dataclass(frozen=True)
class Case:
    """A network to decompose at ratio 2, and what the papers and the demands say of it.

    Attributes:
        model: name in `ms_eff.models`.
        exclude: name patterns left whole. The papers' counts of ResNet-101 and -152 leave fc whole,
            that of ResNet-50 does not.
        layers: convolutions and dense layers on the main path (arXiv:2407.20266).
        weights: of all convolutions and dense layers, where the page of the method states them.
        seconds: the decomposition may take, on 2 cores.
        bytes: of memory that the whole process may take.
    """

    model: str
    exclude: tuple[str, ...]
    layers: int
    weights: int | None
    seconds: float
    bytes: float = 2.5e9


CASES = {
    "resnet50": Case("resnet50", STEM_AND_SHORTCUTS, 115, 14_086_659, 20.0),
    "resnet152": Case("resnet152", (*STEM_AND_SHORTCUTS, "fc"), 352, None, 60.0),
}


def measure(case: Case, **args: Any) -> dict[str, Any]:
    """Decompose one network in this process and return what it took and gave.

    Args:
        case: what to decompose.
        **args: the model's, besides its name.
    """
    prepare_cpu()
    from mindspore import nn

    from ms_eff import models
    from ms_eff.methods.lowrank import apply_lowrank

    network = models.build(case.model, **args)
    start = time.perf_counter()
    compressed, plan, report = apply_lowrank(network, ratio=2.0, exclude=case.exclude)
    seconds = time.perf_counter() - start
    layers = [
        (name, cell)
        for name, cell in compressed.cells_and_names()
        if isinstance(cell, (nn.Conv2d, nn.Dense))
    ]
    return {
        "seconds": seconds,
        "peak_bytes": peak_bytes(),
        "decomposed": len(plan.layers),
        "layers": sum("downsample" not in name for name, _ in layers),
        "weights": sum(cell.weight.size for _, cell in layers),
        "mean_error": statistics.fmean(row.error for row in report if row.decomposed),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every case and write the results; return 1 if a demand is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/decompose.json"))
    parser.add_argument("--runs", type=int, default=3, help="processes a network (default 3)")
    parser.add_argument("--one", choices=list(CASES), help="one network here, JSON to stdout")
    options = parser.parse_args(arguments)
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before anything is measured
    if options.one:
        print(json.dumps(measure(CASES[options.one])))
        return 0
    prepare_cpu()  # for the record: the children choose for themselves
    rows = {name: _row(case, [_in_process(name) for _ in range(options.runs)])
            for name, case in CASES.items()}  # fmt: skip
    command = "python -m ms_eff.bench.decompose"
    with replacing(options.output) as temporary:
        results = {"environment": environment.describe(command, seed=0), "networks": rows}
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name, row in rows.items():
        took = row["seconds"]
        print(
            f"{name}: {took['median']:.1f} s ({took['min']:.1f} to {took['max']:.1f}), "
            f"{row['peak_bytes'] / 1e9:.2f} GB, {row['layers']} layers, "
            f"{row['weights']:,} conv and fc weights: {'met' if row['met'] else 'NOT met'}"
        )
    return 0 if all(row["met"] for row in rows.values()) else 1


def _row(case: Case, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarise the runs of a case and compare them with its demands."""
    seconds = [run["seconds"] for run in runs]
    row = {
        **runs[0],
        "seconds": {
            "median": statistics.median(seconds),
            "min": min(seconds),
            "max": max(seconds),
            "runs": len(seconds),
        },
        "peak_bytes": max(run["peak_bytes"] for run in runs),
        "wanted": asdict(case),
    }
    row["met"] = (
        row["seconds"]["median"] < case.seconds
        and row["peak_bytes"] < case.bytes
        and row["layers"] == case.layers
        and case.weights in (None, row["weights"])
    )
    return row


def _in_process(name: str) -> dict[str, Any]:
    return measured_apart(name, "ms_eff.bench.decompose", ["--one", name])


def peak_bytes() -> int:
    """Return this process's largest resident memory since it was started."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held at the fork
        peak = next(s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    sys.exit(main())
