"""What each criterion keeps before any fine-tuning: `python -m ms_eff.bench.criteria`.

A trained network is decomposed to 1.5, 2, 3 and 4 times fewer parameters, by each criterion, with
the same ratio for every layer and with one global budget, and is scored: by its accuracy, or, where
the data are not what it was trained on, by how far its outputs agree with the dense network's.
Every network is within the same number of parameters. Beside ours stand a plain SVD of whole
kernels and tensorly's Tucker. Each row is saved at once.

    python -m ms_eff.bench.criteria CONFIG --checkpoint RUN/models/dense --output ROWS.json
    python -m ms_eff.bench.criteria CONFIG model.weights=FILE --agreement --output ROWS.json
    (the same with --photographs --name NAME for two real photographs in place of the config's data)
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ms_eff.bench import environment
from ms_eff.bench.criteria_scores import accuracy_of, agreement_with
from ms_eff.bench.photographs import photographs
from ms_eff.config import Config, load_config
from ms_eff.errors import ConfigError, DataError, UserError
from ms_eff.files import read_json, replacing

if TYPE_CHECKING:
    from mindspore import nn

    from ms_eff.methods.lowrank.criteria import Criterion
    from ms_eff.methods.lowrank.plan import LowRankPlan

__all__ = ["CRITERIA", "RATIOS", "RIVALS", "compare", "main", "table"]

RATIOS = (1.5, 2.0, 3.0, 4.0)
CRITERIA = ("weight", "activation", "two_sided")
ALLOCATIONS = ("uniform", "global")
# (criterion, allocation) of `ms_eff.bench.rivals.lowrank`
RIVALS = (("svd", "uniform"), ("tensorly", "uniform"), ("tensorly", "global"))
_OURS = tuple(itertools.product(CRITERIA, ALLOCATIONS))

Score = Callable[["nn.Cell"], dict[str, float]]
Key = tuple[str, str, float]


def compare(
    network: nn.Cell,
    score: Score,
    calibration: Callable[[], Iterator[Any]],
    *,
    ratios: Sequence[float] = RATIOS,
    samples: int = 256,
    known: Sequence[Key] = (),
) -> Iterator[dict[str, Any]]:
    """Yield a row for each criterion, allocation and ratio that is not `known`.

    Args:
        network: trained, dense.
        score: what to record of a network.
        calibration: gives batches of (inputs, labels) for the statistics.
        ratios: parameters of the dense network over those of the decomposed one.
        samples: how much data the statistics look at.
        known: (criterion, allocation, ratio) of rows that are there already.

    Yields:
        `criterion`, `allocation`, `ratio`, `params` (kept share), `decomposed`, and the score.
    """
    from ms_eff.bench.rivals.lowrank import TensorlyTucker, svd_network
    from ms_eff.methods.lowrank.calibrate import make_criterion
    from ms_eff.methods.lowrank.layers import find_layers, network_params

    wanted = [
        (*kind, ratio)
        for kind in (*_OURS, *RIVALS)
        for ratio in ratios
        if (*kind, ratio) not in known
    ]
    layers = [layer for layer in find_layers(network) if not layer.reason]
    total = network_params(network)
    by: dict[str, Criterion] = {"tensorly": TensorlyTucker()}
    for criterion, allocation, ratio in wanted:
        if criterion == "svd":
            changed, decomposed = svd_network(network, 1 / ratio)
        else:
            if criterion not in by:
                by[criterion] = make_criterion(network, layers, criterion, calibration(), samples)
            plan = _plan(network, allocation, 1 / ratio, by[criterion])
            changed, decomposed = _decomposed(network, plan, by[criterion]), len(plan.layers)
        yield {
            "criterion": criterion,
            "allocation": allocation,
            "ratio": ratio,
            "params": network_params(changed) / total,
            "decomposed": decomposed,
            **score(changed),
        }


def table(results: Mapping[str, Any], measure: str) -> list[str]:
    """Return Markdown lines: a row for each criterion and allocation, a column for each ratio.

    Rivals are left out where nothing of them was measured.

    Args:
        results: one network's part of the file.
        measure: of the rows, `accuracy` or `agreement`, in [0, 1].
    """
    ratios = sorted({row["ratio"] for row in results["rows"]})
    lines = [
        f"| criterion | allocation | {' | '.join(f'{ratio:g}x' for ratio in ratios)} |",
        "|" + "---|" * (2 + len(ratios)),
    ]
    cells = {(r["criterion"], r["allocation"], r["ratio"]): r for r in results["rows"]}
    for kind in (*_OURS, *RIVALS):
        found = [cells.get((*kind, ratio)) for ratio in ratios]
        if kind in _OURS or any(found):
            shown = " | ".join(_cell(row, measure) for row in found)
            lines.append(f"| {kind[0]} | {kind[1]} | {shown} |")
    return lines


def _cell(row: Mapping[str, Any] | None, measure: str) -> str:
    if row is None:
        return "–"  # noqa: RUF001
    # narrow layers have no rank that small: one ratio for all cannot shrink them
    return "out of reach" if row["params"] > 1.001 / row["ratio"] else f"{100 * row[measure]:.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Score what is missing, row by row; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("config", type=Path, help="its data, and its model unless --checkpoint")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--checkpoint", type=Path, help="folder of the trained dense model")
    parser.add_argument("--name", help="of the network in the results (default: the model's)")
    parser.add_argument("--agreement", action="store_true", help="with the dense outputs")
    parser.add_argument("--photographs", action="store_true", help="crops of two, as the data")
    parser.add_argument("--samples", type=int, default=256, help="of calibration (default 256)")
    parser.add_argument("--output", type=Path, required=True)
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_intermixed_args(words)  # key=value behind options too
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before anything is measured
    try:
        config = load_config(options.config, options.overrides)
        _run(config, options, ["python", "-m", "ms_eff.bench.criteria", *words])
    except UserError as error:
        print(f"criteria: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _run(config: Config, options: argparse.Namespace, command: Sequence[str]) -> None:
    from ms_eff import data, runtime

    runtime.setup(config.device)
    network = _network(config, options.checkpoint)
    if options.photographs and not options.agreement:
        raise ConfigError("--photographs: they have no labels; add --agreement")
    built = (
        photographs(config.data, config.seed) if options.photographs else data.build(config.data)
    )
    score, dense = _score(config, network, built, agreement=options.agreement)
    name = options.name or config.model.name
    content = read_json(options.output, DataError) if options.output.exists() else {"networks": {}}
    own = content["networks"].setdefault(name, {"rows": []})
    setting = {
        "data": built.name,
        "test_images": len(built.test),
        "calibration_samples": options.samples,
        "dense": dense,
    }
    _check_same(own, setting, name, options.output)
    own |= {"environment": environment.describe(command, config.seed), **setting}
    known = [(row["criterion"], row["allocation"], row["ratio"]) for row in own["rows"]]
    # drawn from the network's own predictions where the labels are not its classes
    batches = _calibration(built, config, labels=not options.agreement)
    for row in compare(network, score, batches, samples=options.samples, known=known):
        own["rows"].append(row)
        with replacing(options.output, DataError) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        shown = ", ".join(f"{k} {row[k]:.4f}" for k in row if k in ("accuracy", "agreement"))
        print(f"{row['criterion']}, {row['allocation']}, {row['ratio']:g}x: {shown}", flush=True)
    print("\n".join(table(own, "agreement" if options.agreement else "accuracy")))


def _check_same(own: Mapping[str, Any], setting: Mapping[str, Any], name: str, path: Path) -> None:
    """Refuse to go on with rows that were made in another way."""
    for key, value in setting.items() if own["rows"] else ():
        if own.get(key) != value:
            raise DataError(
                f"{path}: its rows of '{name}' are of {key} = {own.get(key)}, these of {value}; "
                "choose another --output, or another --name"
            )


def _network(config: Config, checkpoint_path: Path | None) -> nn.Cell:
    from ms_eff import models
    from ms_eff.train import checkpoint

    if checkpoint_path is not None:
        return checkpoint.rebuild(checkpoint_path)
    if config.model.weights is None:
        raise ConfigError("model.weights: nothing to decompose; give a file, or --checkpoint")
    network = models.build(config.model.name, **config.model.args(), seed=config.seed)
    models.load_weights(network, config.model.weights)
    return network


def _score(
    config: Config, network: nn.Cell, built: Any, *, agreement: bool
) -> tuple[Score, dict[str, float]]:
    if agreement:
        score = agreement_with(network, built.test, config.data.batch_size)
    else:
        score = accuracy_of(built.test, config.data.eval_batch_size or config.data.batch_size)
    return score, score(network)


def _calibration(built: Any, config: Config, *, labels: bool) -> Callable[[], Iterator[Any]]:
    """Return a function that gives batches of training data without augmentation."""
    split, size = built.train, config.data.batch_size

    def batches() -> Iterator[Any]:
        order = np.random.default_rng(config.seed).permutation(len(split))
        for start in range(0, len(order), size):
            inputs, targets = split.batch(order[start : start + size], None)
            yield inputs, targets if labels else None

    return batches


def _plan(network: nn.Cell, allocation: str, share: float, by: Criterion) -> LowRankPlan:
    from ms_eff.bench.allocation import uniform_plan
    from ms_eff.methods.lowrank.layers import find_layers, network_params
    from ms_eff.methods.lowrank.planner import NetworkSize, make_plan
    from ms_eff.methods.lowrank.settings import LowRankSettings

    layers, size = find_layers(network), NetworkSize(network_params(network))
    if allocation == "uniform":
        return uniform_plan(layers, size, share)
    return make_plan(layers, LowRankSettings(params=share), size, by=by).plan


def _decomposed(network: nn.Cell, plan: LowRankPlan, by: Criterion) -> nn.Cell:
    from ms_eff.methods.lowrank.factors import empty_like, factorize, fill
    from ms_eff.methods.lowrank.layers import find_layers
    from ms_eff.methods.lowrank.rebuilding import swapped

    layers, cells = find_layers(network), {}
    found = {layer.name: layer for layer in layers}
    for entry in plan.layers:
        layer = found[entry.name]
        cells[entry.name] = empty_like(layer, entry.rank)
        fill(cells[entry.name], factorize(layer, entry.rank, 1, by).weights)
    return swapped(network, layers, cells)


if __name__ == "__main__":
    sys.exit(main())
