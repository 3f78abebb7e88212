"""Do two rank searches on a noisy machine agree? Several, each a process of its own, compared.

`python -m ms_eff.bench.rank_agreement`
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ms_eff.bench import environment
from ms_eff.bench.child import measured_apart
from ms_eff.errors import DataError
from ms_eff.files import replacing
from ms_eff.methods.lowrank.settings import RankSearch
from ms_eff.runtime import prepare_cpu

__all__ = ["agreement", "main"]

Ranks = Mapping[str, int | None]

_WANTED, _SECONDS = 0.9, 600.0


def agreement(searches: Sequence[Ranks], step: int) -> dict[str, float]:
    """Compare searches of the same layers pair by pair.

    Args:
        searches: rank by layer; None leaves a layer whole ("ORG").
        step: ranks that far apart count as close; whole and decomposed never do.

    Returns:
        Shares of (pair of searches, layer): `equal`, `within_step`, and `worst_pair`, the smallest
        share within a step of any two searches.

    >>> agreement([{"a": 16, "b": None}, {"a": 24, "b": None}], 8)
    {'equal': 0.5, 'within_step': 1.0, 'worst_pair': 1.0}
    """
    equal, close = [], []
    for one, other in itertools.combinations(searches, 2):
        pairs = [(one[name], other[name]) for name in one]
        equal.append(statistics.fmean(a == b for a, b in pairs))
        close.append(statistics.fmean(_close(a, b, step) for a, b in pairs))
    return {
        "equal": statistics.fmean(equal),
        "within_step": statistics.fmean(close),
        "worst_pair": min(close),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Search several times and write the results; return 1 if a demand is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/rank_agreement.json"))
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--objective", choices=("infer", "train"), default="infer")
    parser.add_argument("--divisor", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="of the images (default 224)")
    parser.add_argument("--searches", type=int, default=5)
    parser.add_argument("--runs", type=int, default=RankSearch().runs, help="timed calls a rank")
    parser.add_argument("--one", action="store_true", help="one search here, JSON to stdout")
    options = parser.parse_args(arguments)
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before anything is measured
    if options.one:
        print(json.dumps(_search(options)))
        return 0
    prepare_cpu()
    own = list(sys.argv[1:] if arguments is None else arguments)
    module = "ms_eff.bench.rank_agreement"
    done = [measured_apart("rank search", module, [*own, "--one"]) for _ in range(options.searches)]
    found = agreement([one["ranks"] for one in done], options.divisor)
    seconds = [one["seconds"] for one in done]
    results = {
        "environment": environment.describe(["python", "-m", module, *own], seed=0),
        "settings": {k: v for k, v in vars(options).items() if k not in ("output", "one")},
        "agreement": found,
        "seconds": seconds,
        # the worst pair is what a user meets who searches twice; a mean would hide it
        "wanted": {"worst_pair": _WANTED, "seconds": _SECONDS},
        "met": found["worst_pair"] >= _WANTED and max(seconds) < _SECONDS,
        "searches": [one["ranks"] for one in done],
    }
    with replacing(options.output, DataError) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(
        f"{len(done)} searches of {options.model}, {options.objective}, divisor {options.divisor}: "
        f"in the worst pair {found['worst_pair']:.1%} of layers within one divisor (wanted "
        f"{_WANTED:.0%}); over all pairs {found['within_step']:.1%}, equal {found['equal']:.1%}; "
        f"{min(seconds):.0f} to {max(seconds):.0f} s each"
    )
    return 0 if results["met"] else 1


def _close(one: int | None, other: int | None, step: int) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= step


def _search(options: argparse.Namespace) -> dict[str, Any]:
    from ms_eff import models, runtime
    from ms_eff.methods.lowrank.search import search_ranks

    runtime.setup(runtime.DeviceSettings())
    network = models.build(options.model)
    began = time.perf_counter()
    _, found = search_ranks(
        network,
        input_shape=(options.batch, 3, options.size, options.size),
        ratio=2.0,
        divisor=options.divisor,
        rank_search={"objective": options.objective, "runs": options.runs},
    )
    ranks = {name: choice.rank for name, choice in found.items()}
    return {"seconds": round(time.perf_counter() - began, 1), "ranks": ranks}


if __name__ == "__main__":
    sys.exit(main())
