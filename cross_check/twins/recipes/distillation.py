"""Kinds of distillation, from their papers: see each function."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from cross_check.twins.recipes import loop
from cross_check.twins.recipes.given import Batch, Given, Trained

__all__ = ["annealed", "layers", "smoothed", "taught"]


def taught(given: Given) -> Trained:
    """Labels, T^2 KL of softened outputs (1503.02531), and 1 - cos of last hidden states."""
    wishes, teacher = given.methods["distillation"], resting_teacher(given)
    shares = [*(wishes["weights"] or (0.5, 0.5, 0.0))]

    def loss_of(network: nn.Module, batch: Batch) -> torch.Tensor:
        loss, own, theirs = _both(network, teacher, batch, shares, wishes["temperature"])
        if shares[2]:
            close = functional.cosine_similarity(own[-1], theirs[-1], dim=-1)
            mask = mask_of(batch.inputs)
            loss = loss + shares[2] * (1 - close)[mask].mean()
        return loss

    return loop.train(given, given.network(), loss_of)


def layers(given: Given) -> Trained:
    """RAIL (2109.10164): besides, the distance of pooled, projected layers of length 1.

    Which of the teacher's layers take part comes with the batches; that they are distinct and
    ascending, and others in other epochs, is a quantity of its own.
    """
    wishes, teacher = given.methods["distillation"], resting_teacher(given)
    shares = wishes["weights"] or (1 / 3,) * 3
    projections = {
        name: nn.Parameter(given.tensor(array)) for name, array in given.group("own").items()
    }
    before = {name: p.detach().clone() for name, p in projections.items()}

    def loss_of(network: nn.Module, batch: Batch) -> torch.Tensor:
        loss, own, theirs = _both(network, teacher, batch, shares, wishes["temperature"])
        mask = mask_of(batch.inputs)
        drawn = [theirs[int(i)] for i in batch.more["drawn"]]
        student = _directions(own, mask, projections["student"], wishes["form"])
        taught = _directions(drawn, mask, projections["teacher"], wishes["form"])
        distances = ((student - taught) ** 2).sum((1, 2))
        return loss + shares[2] * distances.mean()

    network = given.network()
    named = [*network.named_parameters(), *projections.items()]
    trained = loop.train(given, network, loss_of, parameters=named)
    after = {name: p.detach() for name, p in projections.items()}
    return {**trained, "movement of projections": loop.update_of(after, before)}


def annealed(given: Given) -> Trained:
    """Annealing (2104.07163): MSE(z_s, phi z_t) while phi = t / T_max rises, then labels alone.

    The second phase begins with the weights that did best in the first, and without momentum.
    """
    wishes, teacher = given.methods["distillation"], resting_teacher(given)
    first = min(max(round(given.epochs * wishes["first_share"]), 1), given.epochs - 1)
    most, plain = wishes["max_temperature"], loop.cross_entropy(given)

    def loss_of(network: nn.Module, batch: Batch) -> torch.Tensor:
        if batch.epoch >= first:
            return plain(network, batch)
        # t rises from 1 to T_max, evenly over the epochs
        phi = math.ceil((batch.epoch + 1) * most / first) / most
        with torch.no_grad():
            wanted = phi * loop.logits(teacher(batch.inputs))
        return functional.mse_loss(loop.logits(network(batch.inputs)), wanted)

    best: dict[str, Any] = {"merit": -math.inf}
    network = given.network()

    def between(optimiser: torch.optim.Optimizer, epoch: int) -> None:
        if epoch >= first:
            return
        merit = loop.evaluation(given, network)[1]
        if merit > best["merit"]:
            best.update(merit=merit, weights=loop.state(network))
        if epoch == first - 1:
            network.load_state_dict(best["weights"], strict=False)
            optimiser.state.clear()

    return loop.train(given, network, loss_of, after_epoch=between)


def smoothed(given: Given) -> Trained:
    """Cross entropy to (1 - alpha) y + alpha p: p uniform, or a on the label (1909.11723)."""
    wishes = given.methods["distillation"]

    def loss_of(network: nn.Module, batch: Batch) -> torch.Tensor:
        outputs = network(batch.inputs)
        classes = outputs.shape[1]
        hot = functional.one_hot(batch.labels, classes).double()
        spread = torch.full_like(hot, 1 / classes)
        if wishes["kind"] == "tf_reg":
            other = (1 - wishes["certainty"]) / (classes - 1)
            spread = hot * wishes["certainty"] + (1 - hot) * other
        wanted = (1 - wishes["alpha"]) * hot + wishes["alpha"] * spread
        return functional.cross_entropy(outputs, wanted)

    return loop.train(given, given.network(), loss_of)


def resting_teacher(given: Given) -> nn.Module:
    """Return the teacher: in inference mode, without gradients."""
    teacher = given.build(given.group("teacher"), **given.methods["teacher"])
    return teacher.eval().requires_grad_(False)


def with_hidden(
    network: nn.Module, inputs: torch.Tensor, embedded: torch.Tensor | None = None
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return outputs and the hidden states after each block.

    Args:
        network: of the twins.
        inputs: images, (B, 3, T) of text, or (B, T) of language models.
        embedded: (B, T, D) of tokens, in the place of their numbers; BERT only.
    """
    if inputs.ndim == 2:
        found = network.transformer(input_ids=inputs, output_hidden_states=True)
        # the last one is normalised
        return network.lm_head(found.last_hidden_state), [*found.hidden_states[1:]]
    if inputs.ndim == 4:
        return network(inputs), []
    ids, mask, types = inputs.unbind(1)
    given = {"input_ids": ids} if embedded is None else {"inputs_embeds": embedded}
    found = network.bert(
        **given, attention_mask=mask, token_type_ids=types, output_hidden_states=True
    )
    return network.classifier(found.pooler_output), [*found.hidden_states[1:]]


def mask_of(inputs: torch.Tensor) -> torch.Tensor:
    """Return (B, T), which tokens are no padding."""
    return inputs[:, 1] > 0 if inputs.ndim == 3 else torch.ones_like(inputs, dtype=torch.bool)


def _both(
    network: nn.Module, teacher: nn.Module, batch: Batch, shares: Any, temperature: float
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    outputs, own = with_hidden(network, batch.inputs)
    with torch.no_grad():
        taught, theirs = with_hidden(teacher, batch.inputs)
    rows, labels = loop.judged(outputs, batch.labels)
    wanted, _ = loop.judged(taught, batch.labels)
    softened = functional.kl_div(
        functional.log_softmax(rows / temperature, -1),
        functional.softmax(wanted / temperature, -1),
        reduction="batchmean",
    )
    loss = shares[0] * functional.cross_entropy(rows, labels)
    return loss + shares[1] * temperature**2 * softened, own, theirs


def _directions(
    states: list[torch.Tensor], mask: torch.Tensor, weight: torch.Tensor, form: str
) -> torch.Tensor:
    """Return (B, m, width): means over tokens, projected, of length 1."""
    counts = mask.sum(1, keepdim=True)
    pooled = torch.stack([(x * mask[..., None]).sum(1) / counts for x in states], 1)
    if form == "concatenated":
        pooled = pooled.flatten(1)[:, None]
    return functional.normalize(torch.einsum("bmd,mdw->bmw", pooled, weight), dim=-1)
