"""Time whole networks in turns, for decisions that a sum over layers cannot settle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import mindspore as ms
from mindspore import nn

from ms_eff.bench.latency import Kind, compare_models
from ms_eff.methods.lowrank.cost_model import Objective
from ms_eff.methods.lowrank.rank_search import Timing

__all__ = ["WholeTimer", "network_timing", "wall_timer"]

# networks, the original first -> one time each, in milliseconds
WholeTimer = Callable[[Sequence[nn.Cell]], Sequence[float]]

_KINDS: dict[Objective, Kind] = {"infer": "forward", "train": "train_step"}


def network_timing(
    network: nn.Cell,
    input_shape: Sequence[int],
    objective: Objective,
    warmup: int = 3,
    runs: int = 20,
    input_dtype: Any = ms.float32,
) -> Timing:
    """Return the time of a network's forward, or training step, by the clock.

    Args:
        network: weights, statistics and mode are put back afterwards.
        input_shape: of its input, batch axis first.
        objective: `infer` or `train`.
        warmup: runs thrown away.
        runs: runs that count.
        input_dtype: of that input.
    """
    kind = _KINDS[objective]
    found = compare_models({"": network}, input_shape, kind, warmup, runs, input_dtype)
    return Timing.of(found.samples[""])


def wall_timer(
    input_shape: Sequence[int],
    input_dtype: Any,
    objective: Objective,
    warmup: int = 3,
    runs: int = 20,
) -> WholeTimer:
    """Return a timer by the clock: the median forward, or training step, of each network.

    Args:
        input_shape: of the networks' input, batch axis first.
        input_dtype: of that input.
        objective: `infer` or `train`.
        warmup: rounds thrown away.
        runs: rounds that count; in each, every network runs once.
    """

    def timed(networks: Sequence[nn.Cell]) -> list[float]:
        models = {str(index): model for index, model in enumerate(networks)}
        samples = compare_models(
            models, input_shape, _KINDS[objective], warmup, runs, input_dtype
        ).samples
        return [median(samples[name]) for name in models]

    return timed
