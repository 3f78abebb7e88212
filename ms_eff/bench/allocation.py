"""How to share out a parameter budget: accuracy right after the decomposition, loss by loss.

`python -m ms_eff.bench.allocation CONFIG CHECKPOINT [key=value ...]` takes a trained dense
checkpoint and its config. It is where the choice of `spectrum_losses` comes from.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ms_eff.bench import environment
from ms_eff.config import Config, load_config
from ms_eff.files import replacing
from ms_eff.methods.lowrank.budget import spectrum_losses, tail_energies

if TYPE_CHECKING:
    from mindspore import nn

    from ms_eff.methods.lowrank.plan import LowRankPlan

__all__ = ["LOSSES", "compare", "main", "smallest_ratio", "uniform_plan"]

Array = NDArray[np.float64]
SHARES = (0.8, 0.7, 0.6, 0.5, 0.4)
_RATIOS = np.geomspace(1.02, 100.0, 80)


# what a layer loses at each rank, before the sum over layers is made small
LOSSES: dict[str, Callable[[Array], Array]] = {
    "log of the energy kept": spectrum_losses,
    "relative squared error": lambda sigma: (
        tail_energies(sigma) / max(float(np.sum(sigma**2)), 1e-300)
    ),
    "squared error": tail_energies,
}


def compare(
    network: nn.Cell, score: Callable[[nn.Cell], float], shares: Sequence[float] = SHARES
) -> list[dict[str, Any]]:
    """Decompose a trained network to the same sizes in several ways and score each.

    Args:
        network: trained, dense.
        score: what to record of a network, accuracy for instance.
        shares: of its parameters to keep.

    Returns:
        One row for each share and way: `share`, `loss`, `params` (kept share), `score`.
    """
    from ms_eff.methods.lowrank import apply_lowrank
    from ms_eff.methods.lowrank.layers import network_params

    total, rows = network_params(network), []
    for share in shares:
        for name, plan in _plans(network, share):
            # a generous share may leave every layer whole
            compressed = apply_lowrank(network, plan)[0] if plan.layers else network
            kept = network_params(compressed) / total
            rows.append({"share": share, "loss": name, "params": kept, "score": score(compressed)})
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare on a config's test set and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("checkpoint", type=Path, help="folder of the trained dense model")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_intermixed_args(arguments)
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before anything is measured
    config = load_config(options.config, options.overrides)
    from ms_eff import runtime
    from ms_eff.train import checkpoint

    runtime.setup(config.device)
    network, score = checkpoint.rebuild(options.checkpoint), _scorer(config)
    dense = score(network)
    rows = compare(network, score)
    words = [str(options.config), options.checkpoint.name, *options.overrides]
    command = " ".join(["python -m ms_eff.bench.allocation", *words])
    results = {
        "environment": environment.describe(command, config.seed),
        "model": config.model.model_dump(mode="json", exclude_unset=True),
        "data": config.data.name,
        "dense": dense,
        "rows": rows,
    }
    with replacing(options.output) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"dense: {dense:.4f}")
    for row in rows:
        print(f"{row['params']:.3f} of the parameters · {row['loss']}: {row['score']:.4f}")
    return 0


def _plans(network: nn.Cell, share: float) -> Iterator[tuple[str, LowRankPlan]]:
    from ms_eff.methods.lowrank.layers import find_layers, network_params
    from ms_eff.methods.lowrank.planner import NetworkSize, make_plan
    from ms_eff.methods.lowrank.settings import LowRankSettings

    layers, size = find_layers(network), NetworkSize(network_params(network))
    yield "uniform ratio", uniform_plan(layers, size, share)
    for name, losses in LOSSES.items():
        yield name, make_plan(layers, LowRankSettings(params=share), size, losses).plan


def uniform_plan(layers: Any, size: Any, share: float) -> LowRankPlan:
    """Return the plan of the smallest ratio whose network is within the share."""
    from ms_eff.methods.lowrank.costs import weights_of
    from ms_eff.methods.lowrank.planner import make_plan
    from ms_eff.methods.lowrank.settings import LowRankSettings

    def plan_of(ratio: float) -> LowRankPlan:
        return make_plan(layers, LowRankSettings(ratio=ratio), size).plan

    def saved(ratio: float) -> int:
        return sum(
            weights_of(entry.kind, entry.shape) - weights_of(entry.kind, entry.shape, entry.rank)
            for entry in plan_of(ratio).layers
        )

    return plan_of(smallest_ratio(saved, size.params, share))


def smallest_ratio(saved: Callable[[float], int], params: int, share: float) -> float:
    """Return the smallest ratio at which a network is within a share of its parameters.

    What is saved does not only grow: layers that have no rank for a large ratio stay whole. So a
    grid is walked up to the first ratio that is within, and only its last gap is halved.

    Args:
        saved: ratio above 1 -> parameters that it takes away.
        params: of the whole network.
        share: of them to keep.

    Returns:
        That ratio, or the one that saves most where none is within the share.

    >>> round(smallest_ratio(lambda ratio: int(100 - 100 / ratio), 100, 0.5), 3)
    2.0
    """
    low = 1.0
    for ratio in _RATIOS:
        if params - saved(ratio) <= share * params:
            break
        low = ratio
    else:
        return float(max(_RATIOS, key=saved))  # out of reach: as near as one ratio comes
    high = float(ratio)
    for _ in range(20):
        middle = (low + high) / 2
        within = params - saved(middle) <= share * params
        low, high = (low, middle) if within else (middle, high)
    return high


def _scorer(config: Config) -> Callable[[nn.Cell], float]:
    from ms_eff import data
    from ms_eff.data.pipeline import batches
    from ms_eff.train.evaluate import evaluate

    split = data.build(config.data).test

    def score(network: nn.Cell) -> float:
        dataset = batches(
            split,
            batch_size=config.data.eval_batch_size or config.data.batch_size,
            epoch=0,
            seed=config.seed,
            shuffle=False,
            train=False,
            drop_last=False,
        )
        return evaluate(network, dataset.create_tuple_iterator(num_epochs=1)).accuracy

    return score


if __name__ == "__main__":
    sys.exit(main())
