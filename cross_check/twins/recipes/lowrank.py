"""Training of decomposed layers of which some factors rest (arXiv:2407.20266, 2309.03824)."""

from __future__ import annotations

from torch import nn

from cross_check.twins.recipes import loop
from cross_check.twins.recipes.given import Batch, Given, Trained

__all__ = ["frozen"]


def frozen(given: Given) -> Trained:
    """Train one set of factors while the other rests: no gradient, no decay, no momentum.

    Outer: the first of a pair, both 1x1 convolutions of a triple; inner: what is left. Static
    freezing rests one for good, sequential freezing changes sides every `period` epochs.
    """
    wishes = given.methods["lowrank"]["freeze"]
    network, epoch = given.network(), [0]
    inner = {id(w) for w in _inner(network)}
    factors = {id(w) for w in _factors(network)}

    def before_step(batch: Batch) -> None:
        epoch[0] = batch.epoch

    def after_backward(network: nn.Module) -> None:
        turn = wishes["kind"] == "sequential" and epoch[0] // wishes["period"] % 2 == 1
        outer_rests = (wishes["start"] == "outer") != turn
        resting = factors - inner if outer_rests else inner
        for weight in network.parameters():
            if id(weight) in resting:
                weight.grad = None

    return loop.train(given, network, before_step=before_step, after_backward=after_backward)


def _chains(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if hasattr(m, "first") and hasattr(m, "last")]


def _factors(network: nn.Module) -> list[nn.Parameter]:
    return [factor.weight for chain in _chains(network) for factor in chain.children()]


def _inner(network: nn.Module) -> list[nn.Parameter]:
    return [getattr(chain, "core", chain.last).weight for chain in _chains(network)]
