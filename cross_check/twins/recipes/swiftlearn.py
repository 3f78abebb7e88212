"""Training on a part of the samples (arXiv:2311.15134, InfoBatch 2303.04947).

The batches come from the record. Which samples are among them is what is compared: the choice is
made anew from the logits of this side's own network.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cross_check.twins.recipes import loop
from cross_check.twins.recipes.given import Batch, Given, Trained

__all__ = ["infobatch", "moved", "random"]


def moved(given: Given) -> Trained:
    """Choose the samples whose logits moved most between the last two epochs on everything.

    Re-evaluation measures all samples again in inference mode, against what was seen before.
    """
    wishes = given.methods["swiftlearn"]
    warm, every = wishes["warmup_epochs"], wishes["reevaluate_every"]
    images = {int(i): x for b in given.batches for i, x in zip(b.indices, b.inputs, strict=True)}
    seen: dict[int, torch.Tensor] = {}
    metric: dict[int, float] = {}
    chosen: dict[str, np.ndarray] = {}
    network = given.network()

    def record(index: int, row: torch.Tensor) -> None:
        if index in seen:
            metric[index] = float((row - seen[index]).norm())
        seen[index] = row

    def loss_of(network: nn.Module, batch: Batch) -> torch.Tensor:
        outputs = network(batch.inputs)
        if warm - 2 <= batch.epoch < warm:
            for index, row in zip(batch.indices, outputs.detach(), strict=True):
                record(int(index), row)
        return functional.cross_entropy(outputs, batch.labels)

    def after_epoch(optimiser: torch.optim.Optimizer, epoch: int) -> None:
        done = epoch + 1 - warm
        if every and done > 0 and done % every == 0 and epoch + 1 < given.epochs:
            network.eval()
            with torch.no_grad():
                for index, image in images.items():
                    record(index, network(image[None])[0])
        if done >= 0 and epoch + 1 < given.epochs:
            wanted = max(round(len(metric) * wishes["keep"]), 1)
            best = sorted(metric, key=lambda index: -metric[index])[:wanted]
            chosen[f"epoch {epoch + 1}"] = np.sort(np.array(best, np.float64))

    trained = loop.train(given, network, loss_of, after_epoch=after_epoch)
    return {**trained, "chosen samples": chosen}


def random(given: Given) -> Trained:
    """Nothing but the number of samples follows from the settings; training on them is plain."""
    wishes, trained = given.methods["swiftlearn"], loop.train(given, given.network())
    samples = len({int(i) for b in given.batches if b.epoch == 0 for i in b.indices})
    wanted = np.array([max(round(samples * wishes["keep"]), 1)], np.float64)
    reduced = range(wishes["warmup_epochs"], given.epochs)
    return {**trained, "number of samples": {f"epoch {epoch}": wanted for epoch in reduced}}


def infobatch(given: Given) -> Trained:
    """Drop samples of low loss; those that stay count for the dropped ones.

    Of the sqrt(d) N lowest losses as large a share goes, d being the share dropped; the gradient
    is that of the weighted losses, and the loss that is recorded the plain mean. Which of the low
    ones stay is drawn and taken as recorded; the high ones must all be there.
    """
    wishes = given.methods["swiftlearn"]
    losses: dict[int, float] = {}
    chosen: dict[str, np.ndarray] = {}
    weights: dict[int, float] = {}
    epoch_of = [-1]
    last = given.epochs - wishes["anneal_epochs"]
    first = wishes["warmup_epochs"] - wishes["anneal_epochs"]

    def before_step(batch: Batch) -> None:
        if batch.epoch == epoch_of[0]:
            return
        epoch_of[0] = batch.epoch
        weights.clear()
        if not first <= batch.epoch < last:
            return
        here = {int(i) for b in given.batches if b.epoch == batch.epoch for i in b.indices}
        size, order = len(losses), sorted(losses, key=losses.__getitem__)
        prunable = round(size * math.sqrt(1 - len(here) / size))
        low = set(order[:prunable])
        weights.update({index: prunable / len(low & here) for index in low})
        wanted = sorted({*order[prunable:], *(low & here)})
        chosen[f"epoch {batch.epoch}"] = np.array(wanted, np.float64)

    def backward(network: nn.Module, batch: Batch, loss_of: loop.Loss) -> torch.Tensor:
        each = functional.cross_entropy(network(batch.inputs), batch.labels, reduction="none")
        counts = each.new_tensor([weights.get(int(i), 1.0) for i in batch.indices])
        (each * counts).mean().backward()
        later.update({int(i): float(x) for i, x in zip(batch.indices, each.detach(), strict=True)})
        return each.mean()

    def after_epoch(optimiser: torch.optim.Optimizer, epoch: int) -> None:
        losses.update(later)

    later: dict[int, float] = {}
    trained = loop.train(
        given, given.network(), before_step=before_step, backward=backward, after_epoch=after_epoch
    )
    return {**trained, "chosen samples": chosen}
