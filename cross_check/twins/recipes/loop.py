"""What the loops share: torch's optimisers and schedulers as the settings ask for them.

Settings are read as their documentation says (`ms_eff.train.settings`); all arithmetic is torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from cross_check.twins.recipes.given import Arrays, Batch, Given, Trained

__all__ = [
    "Loss",
    "evaluation",
    "judged",
    "logits",
    "optimiser",
    "scheduler",
    "state",
    "train",
    "update_of",
]

# the loss of a batch, differentiable
Loss = Callable[[nn.Module, Batch], torch.Tensor]
Named = Iterable[tuple[str, nn.Parameter]]


def train(
    given: Given,
    network: nn.Module,
    loss_of: Loss | None = None,
    *,
    parameters: Named | None = None,
    backward: Callable[[nn.Module, Batch, Loss], torch.Tensor] | None = None,
    before_step: Callable[[Batch], None] = lambda batch: None,
    after_backward: Callable[[nn.Module], None] | None = None,
    after_epoch: Callable[[torch.optim.Optimizer, int], None] = lambda optimiser, epoch: None,
) -> Trained:
    """Train over the batches.

    Args:
        given: batches and settings.
        network: to train, in place.
        loss_of: instead of the cross entropy.
        parameters: to train, by name; the network's by default.
        backward: gradients of a batch, instead of one backward pass; returns the loss to record.
        before_step: is shown each batch.
        after_backward: changes the gradients, before clipping.
        after_epoch: may act on network and optimiser between two epochs.
    """
    wanted = dict(parameters or network.named_parameters())
    chosen = optimiser(wanted.items(), given.train)
    plan = scheduler(chosen, given)
    before = state(network)
    loss_of = loss_of or cross_entropy(given)
    backward = backward or plain_backward
    average = Average(network, given.train)
    rates, losses, first = [], [], {}
    for step, batch in enumerate(given.batches):
        network.train()
        before_step(batch)
        chosen.zero_grad(set_to_none=True)
        loss = backward(network, batch, loss_of)
        if after_backward is not None:
            after_backward(network)
        if given.train["clip_norm"] is not None:
            nn.utils.clip_grad_norm_(wanted.values(), given.train["clip_norm"])
        rates.append(chosen.param_groups[0]["lr"])
        chosen.step()
        plan.step()
        losses.append(float(loss.detach()))
        average.update(network, step)
        if step == 0:
            first = state(network)
        last = state(network)
        following = given.batches[step + 1 : step + 2]
        if not following or following[0].epoch > batch.epoch:
            after_epoch(chosen, batch.epoch)
    trained: Trained = {
        "learning rates": {"": np.array(rates)},
        "loss curve": {"": np.array(losses)},
        "first update of weights": update_of(first, before),
        "movement of weights": update_of(last, before),
    }
    if average.values:
        average.put_into(network)
        trained["averaged weights"] = update_of(state(network), before)
    if given.tested is not None:
        trained["evaluation"] = {"": evaluation(given, network)}
    return trained


def plain_backward(network: nn.Module, batch: Batch, loss_of: Loss) -> torch.Tensor:
    """One pass there and back."""
    loss = loss_of(network, batch)
    loss.backward()
    return loss


def cross_entropy(given: Given) -> Loss:
    """The usual loss, with torch's own label smoothing."""

    def loss_of(network: nn.Module, batch: Batch) -> torch.Tensor:
        rows, labels = judged(logits(network(batch.inputs)), batch.labels)
        smoothing = given.train["label_smoothing"]
        return functional.cross_entropy(rows, labels, label_smoothing=smoothing)

    return loss_of


def optimiser(parameters: Named, wishes: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return torch's optimiser; vectors are not decayed, and biases have a rate of their own."""
    groups: list[dict[str, Any]] = []
    for name, parameter in parameters:
        if not parameter.requires_grad:
            continue
        decay, ratio = wishes["weight_decay"], 1.0
        if name.endswith("bias") and parameter.ndim == 1:
            ratio = wishes["bias_lr_ratio"]
        if parameter.ndim < 2 and not wishes["decay_norm_and_bias"]:
            decay = 0.0
        group = {"params": [parameter], "lr": wishes["lr"] * ratio, "weight_decay": decay / ratio}
        # the first group's rate is what is recorded
        groups.insert(0 if ratio == 1.0 else len(groups), group)
    if wishes["optimizer"] == "adamw":
        return torch.optim.AdamW(groups, betas=wishes["betas"], eps=wishes["eps"])
    momentum = wishes["momentum"] if wishes["optimizer"] == "momentum" else 0.0
    return torch.optim.SGD(groups, lr=0.0, momentum=momentum, nesterov=wishes["nesterov"])


def scheduler(chosen: torch.optim.Optimizer, given: Given) -> lr_scheduler.LRScheduler:
    """Return torch's scheduler for the whole training."""
    wishes, steps = given.train, len(given.batches)
    per_epoch = sum(batch.epoch == 0 for batch in given.batches)
    if wishes["schedule"] == "peak":
        top, end = wishes["peak_at"] * steps, steps - wishes["flat_epochs"] * per_epoch
        return lr_scheduler.LambdaLR(
            chosen, lambda step: _peak(step + 1, top, end, wishes["final_lr_ratio"])
        )
    warmup = round(wishes["warmup_epochs"] * per_epoch)
    rest, low = steps - warmup, wishes["final_lr_ratio"]
    main: lr_scheduler.LRScheduler
    match wishes["schedule"]:
        case "linear":
            main = lr_scheduler.LinearLR(chosen, 1.0, max(low, 1e-12), total_iters=rest)
        case "cosine":
            main = lr_scheduler.LambdaLR(
                chosen, lambda at: low + (1 - low) * (1 + math.cos(math.pi * at / rest)) / 2
            )
        case "step":
            # a milestone that falls between two steps counts from the later one
            places = [math.ceil(share * rest) for share in wishes["milestones"]]
            main = lr_scheduler.MultiStepLR(chosen, places, wishes["gamma"])
        case _:
            main = lr_scheduler.ConstantLR(chosen, 1.0)
    if not warmup:
        return main
    for group in chosen.param_groups:  # a second scheduler begins where no other has been
        group["lr"] = group["initial_lr"]
    first = lr_scheduler.LambdaLR(chosen, lambda step: (step + 1) / warmup)
    return lr_scheduler.SequentialLR(chosen, [first, main], [warmup])


def _peak(at: float, top: float, end: float, low: float) -> float:
    if at <= top:
        return at / top
    return low if at >= end else 1.0 + (low - 1.0) * (at - top) / (end - top)


class Average:
    """The moving average of weights and running statistics, as `train.ema` asks for it."""

    def __init__(self, network: nn.Module, wishes: Mapping[str, Any]) -> None:
        self.every = wishes["ema_every"]
        self.values: dict[str, torch.Tensor] = {}
        if wishes["ema"] is not None:
            self.kept = wishes["ema"] ** self.every
            self.values = {k: v.clone() for k, v in _floats(network)}

    def update(self, network: nn.Module, step: int) -> None:
        """Follow the network."""
        if self.values and (step + 1) % self.every == 0:
            for name, value in _floats(network):
                self.values[name].lerp_(value, 1 - self.kept)

    def put_into(self, network: nn.Module) -> None:
        """Give the network its averages."""
        for name, value in _floats(network):
            value.copy_(self.values[name])


def evaluation(given: Given, network: nn.Module) -> np.ndarray:
    """Return loss and accuracy, or perplexity, in inference mode.

    If asked, logits are the mean of an image's and its mirror image's.
    """
    if given.tested is None:
        raise ValueError("this training was not evaluated")
    inputs, labels = given.tested
    network.eval()
    with torch.no_grad():
        outputs = logits(network(inputs))
        if given.train["mirror_test"]:
            outputs = (outputs + logits(network(inputs.flip(-1)))) / 2
    rows, wanted = judged(outputs, labels)
    loss = functional.cross_entropy(rows, wanted)
    right = (rows.argmax(1) == wanted).double().mean()
    return torch.stack([loss, right if outputs.ndim == 2 else loss.exp()]).cpu().numpy()


def judged(outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of logits and their classes; of language models, the tokens that follow."""
    if outputs.ndim == 2:
        return outputs, labels
    return outputs[:, :-1].flatten(0, 1), labels[:, 1:].flatten()


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of all weights and statistics."""
    return {name: value.clone() for name, value in _floats(network)}


def update_of(after: Mapping[str, torch.Tensor], before: Mapping[str, torch.Tensor]) -> Arrays:
    """Return how far everything moved."""
    return {name: (after[name] - before[name]).cpu().numpy() for name in after}


def logits(outputs: Any) -> torch.Tensor:
    """Return the logits of a network, of transformers' too."""
    return getattr(outputs, "logits", outputs)


def _floats(network: nn.Module) -> list[tuple[str, torch.Tensor]]:
    found = network.state_dict().items()
    return [(name, value) for name, value in found if not name.endswith("num_batches_tracked")]
