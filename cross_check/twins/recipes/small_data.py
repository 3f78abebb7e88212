"""Methods for small data: arXiv:2010.01412, 2102.11600, 2004.01461, 1703.03400, 2309.03965."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from cross_check.twins.recipes import loop
from cross_check.twins.recipes.given import Batch, Given, Trained
from cross_check.twins.recipes.loop import Loss

__all__ = ["meta", "train"]

Backward = Callable[[nn.Module, Batch, Loss], torch.Tensor]


def train(given: Given) -> Trained:
    """Train with whatever of SAM, centralisation, whitening, freezing and resizing is asked for."""
    backward: Backward | None = _sharpness_aware(given) if "sam" in given.methods else None
    after_backward = before_step = None
    network, loss_of = given.network(), loop.cross_entropy(given)
    if "progressive_freezing" in given.methods:
        before_step = _resting(given, network)
    if "progressive_resizing" in given.methods:
        loss_of = _of_small_images(given, loss_of)
    filters = _filters(given) if "patch_whitening" in given.methods else {}
    if "gradient_centralization" in given.methods:
        after_backward = _centralizing(given)
        if given.train["optimizer"] != "adamw":  # decayed there
            given = replace(given, train={**given.train, "weight_decay": 0.0})
    trained = loop.train(
        given,
        network,
        loss_of,
        backward=backward,
        after_backward=after_backward,
        before_step=before_step or (lambda batch: None),
    )
    return {**trained, **filters}


def _sharpness_aware(given: Given) -> Backward:
    """Return the gradient at w + e, in each `every`th step.

    SAM: e = rho g / ||g||, the norm over all weights. ASAM: e = rho T^2 g / ||T g||, T = |w|.
    """
    wishes, taken = given.methods["sam"], iter(range(len(given.batches)))

    def backward(network: nn.Module, batch: Batch, loss_of: Loss) -> torch.Tensor:
        loss = loop.plain_backward(network, batch, loss_of)
        if next(taken) % wishes["every"]:
            return loss
        weights = [w for w in network.parameters() if w.grad is not None]
        sizes = [w.detach().abs() if wishes["adaptive"] else torch.ones_like(w) for w in weights]
        scaled = [(t * w.grad).flatten() for t, w in zip(sizes, weights, strict=True)]
        length = torch.cat(scaled).norm()
        flat = [w.detach().clone() for w in weights]
        with torch.no_grad():
            for w, t in zip(weights, sizes, strict=True):
                w.add_(wishes["rho"] * t**2 * w.grad / (length + 1e-12))
        network.zero_grad()
        with _statistics_at_rest(network):
            loss_of(network, batch).backward()
        with torch.no_grad():
            for w, before in zip(weights, flat, strict=True):
                w.copy_(before)
        return loss

    return backward


def _centralizing(given: Given) -> Callable[[nn.Module], None]:
    """Take each filter's mean out of the decayed gradient; the momentum is torch's."""
    kinds: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    if given.methods["gradient_centralization"]["layers"] == "all":
        kinds = (*kinds, nn.Linear)
    decay = 0.0 if given.train["optimizer"] == "adamw" else given.train["weight_decay"]

    def after_backward(network: nn.Module) -> None:
        for weight in network.parameters():
            if weight.ndim >= 2:  # vectors are not decayed here
                weight.grad += decay * weight.detach()
        for layer in network.modules():
            if isinstance(layer, kinds):
                grad = layer.get_parameter("weight").grad
                grad -= grad.flatten(1).mean(1).view(-1, *[1] * (grad.ndim - 1))

    return after_backward


def meta(given: Given) -> Trained:
    """MAML over two tasks, each a support and a query quarter of the batch.

    Second order differentiates through the inner steps by autograd; what is compared with it takes
    central differences, whose error is bounded by the tolerance, not by rounding.
    """
    wishes = given.methods["meta_learning"]
    second = wishes["order"] == "second"

    def backward(network: nn.Module, batch: Batch, loss_of: Loss) -> torch.Tensor:
        names = [name for name, w in network.named_parameters() if w.requires_grad]
        total = torch.zeros((), dtype=torch.float64, device=batch.inputs.device)
        # by class, then every fourth sample to the same quarter
        quarters = torch.argsort(batch.labels, stable=True).view(-1, 4).T
        for support, query in (quarters[:2], quarters[2:]):
            weights = {name: network.get_parameter(name) for name in names}
            for inner in range(wishes["inner_steps"]):
                if inner == 0:  # statistics move with the weights that are not adapted yet
                    loss = _loss(network, weights, batch, support)
                else:
                    with _statistics_at_rest(network):
                        loss = _loss(network, weights, batch, support)
                steps = torch.autograd.grad(loss, list(weights.values()), create_graph=second)
                rate = wishes["inner_lr"]
                weights = {
                    name: w - rate * step
                    for (name, w), step in zip(weights.items(), steps, strict=True)
                }
            with _statistics_at_rest(network):
                total = total + _loss(network, weights, batch, query)
        total.backward()
        return total

    return loop.train(given, given.network(), backward=backward)


def _loss(
    network: nn.Module, weights: dict[str, torch.Tensor], batch: Batch, chosen: torch.Tensor
) -> torch.Tensor:
    outputs = functional_call(network, weights, (batch.inputs[chosen],))
    return functional.cross_entropy(outputs, batch.labels[chosen])


def _filters(given: Given) -> Trained:
    """Make the whitening's filters anew from the images of the first epoch.

    filter_k = v_k / sqrt(lambda_k + eps) over the eigenvectors of X^T X / (n - 1), largest first.
    """
    wishes = given.methods["patch_whitening"]
    images = torch.cat([batch.inputs for batch in given.batches if batch.epoch == 0])
    patches = functional.unfold(images, wishes["patch"]).transpose(1, 2).flatten(0, 1)
    # of the singular values of X rather than of a product
    _, singular, vectors = torch.linalg.svd(patches, full_matrices=False)
    values = singular**2 / (len(patches) - 1)
    filters = vectors / torch.sqrt(values + wishes["eps"])[:, None]
    places = filters.abs().argmax(1, keepdim=True)
    filters = filters * filters.gather(1, places).sign()
    if wishes["both_signs"]:
        filters = torch.cat([filters, -filters])
    shape = (len(filters), images.shape[1], wishes["patch"], wishes["patch"])
    return {"whitening filters": {"": filters.view(shape).cpu().numpy()}}


def _resting(given: Given, network: nn.Module) -> Callable[[Batch], None]:
    """Let layers rest from a share of the epochs on: no gradient, no decay, no momentum."""
    layers = given.methods["progressive_freezing"]["layers"]

    def before_step(batch: Batch) -> None:
        for name, weight in network.named_parameters():
            for layer, share in layers.items():
                if name.startswith(f"{layer}.") and batch.epoch >= share * given.epochs:
                    weight.requires_grad_(False)

    return before_step


def _of_small_images(given: Given, loss_of: Loss) -> Loss:
    """Return the loss of smaller images first, each pixel the mean of the area that it covers."""
    wishes = given.methods["progressive_resizing"]

    def of_images(network: nn.Module, batch: Batch) -> torch.Tensor:
        if batch.epoch < wishes["until"] * given.epochs:
            size, side = batch.inputs.shape[-1], wishes["side"]
            # every pixel `side` times, then means of `size`: areas without fractions
            fine = batch.inputs.repeat_interleave(side, 2).repeat_interleave(side, 3)
            batch = replace(batch, inputs=functional.avg_pool2d(fine, size))
        return loss_of(network, batch)

    return of_images


@contextmanager
def _statistics_at_rest(network: nn.Module) -> Iterator[None]:
    """Normalise by the batch, and remember nothing of it."""
    norms = [m for m in network.modules() if hasattr(m, "momentum")]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
