"""MATE-KD (arXiv:2105.05812): a student, and a generator of text to disagree on, in turns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM

from cross_check.twins.recipes import loop
from cross_check.twins.recipes.distillation import resting_teacher, with_hidden
from cross_check.twins.recipes.given import Arrays, Batch, Given, Trained

__all__ = ["train"]

# the gradient of keys' biases is 0 in exact arithmetic, and Adam makes a step of any rounding
_IDLE = ".self.key.bias"


def train(given: Given) -> Trained:
    """Train both players; text that the generator fills in counts a third of the student's loss."""
    wishes, teacher = given.methods["distillation"], resting_teacher(given)
    shares = wishes["weights"] or (1 / 3,) * 3
    student = given.network()
    player = _Player(given, student, teacher)
    steps = itertools.count()

    def before_step(batch: Batch) -> None:
        player.rounds(next(steps))

    def loss_of(network: nn.Module, batch: Batch) -> torch.Tensor:
        inputs, labels = batch.inputs, batch.labels
        outputs, _ = with_hidden(network, inputs)
        with torch.no_grad():
            places, drawn, _ = player.draws(inputs, batch.more)
            made = inputs.clone()
            made[places[0], 0, places[1]] = drawn
        loss = shares[0] * functional.cross_entropy(outputs, labels)
        loss = loss + shares[1] * _disagreement(outputs, with_hidden(teacher, inputs)[0])
        of_made, _ = with_hidden(network, made)
        return loss + shares[2] * _disagreement(of_made, with_hidden(teacher, made)[0])

    trained = loop.train(given, student, loss_of, before_step=before_step)
    return {**trained, **player.trained()}


class _Generator(nn.Module):
    """BERT's masked language model, with a vector of its own in masked places."""

    def __init__(self, vocab: int, positions: int, dim: int, depth: int) -> None:
        super().__init__()
        config = BertConfig(
            vocab_size=vocab,
            max_position_embeddings=positions,
            hidden_size=dim,
            num_hidden_layers=depth,
            num_attention_heads=1,
            intermediate_size=4 * dim,
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=None,
        )
        self.model = BertForMaskedLM(config)
        types = self.model.bert.embeddings.token_type_embeddings.weight
        nn.init.zeros_(types).requires_grad_(False)
        self.masked = nn.Parameter(torch.zeros(dim))

    def forward(self, tokens: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        embedded = self.model.bert.embeddings.word_embeddings(tokens[:, 0])
        embedded = torch.where(chosen[..., None], self.masked, embedded)
        return self.model(inputs_embeds=embedded, attention_mask=tokens[:, 1]).logits


class _Player:
    """The generator with its optimiser."""

    def __init__(self, given: Given, student: nn.Module, teacher: nn.Module) -> None:
        self.given, self.student, self.teacher = given, student, teacher
        self.wishes = given.methods["distillation"]
        own = self.wishes["generator"]
        weights = given.group("generator")
        vocab, dim = weights["model.bert.embeddings.word_embeddings.weight"].shape
        positions = len(weights["model.bert.embeddings.position_embeddings.weight"])
        network = _Generator(vocab, positions, dim, own["depth"]).double()
        missing, odd = network.load_state_dict(
            {name: given.tensor(array) for name, array in weights.items()}, strict=False
        )
        expected = {"token_type_embeddings.weight", "decoder.weight", "decoder.bias"}
        if odd or not all(any(m.endswith(e) for e in expected) for m in missing):
            raise ValueError(f"generator: {odd[:1]} or {missing[:1]} fit not")
        self.network = network.to(given.batches[0].inputs.device)
        self.before = loop.state(self.network)
        self.weights = [w for w in self.network.parameters() if w.requires_grad]
        self.optimiser = torch.optim.AdamW(self.weights, own["lr"], weight_decay=0.0)
        # the warm-up's rate falls to 0; nothing of it but the weights is kept
        self.first = torch.optim.AdamW(self.weights, own["warmup_lr"], weight_decay=0.0)
        steps = max(own["warmup_steps"], 1)
        self.falling = torch.optim.lr_scheduler.LinearLR(self.first, 1.0, 1e-12, steps)
        self.losses: list[float] = []
        self.todo = self._recorded()

    def rounds(self, step: int) -> None:
        """Take the generator's steps that come before this one of the student."""
        while self.todo and int(self.todo[0]["before"]) == step:
            self._step(self.todo.pop(0))

    def draws(
        self, tokens: torch.Tensor, more: Mapping[str, torch.Tensor]
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor, torch.Tensor]:
        """Return masked places (texts, positions), the ids drawn there, and their softmax."""
        texts, positions, rows = self._masked(tokens, more["scores"])
        chosen = torch.zeros_like(tokens[:, 0], dtype=torch.bool)
        chosen[texts, positions] = True
        noisy = self.network(tokens, chosen)[texts, positions] + more["noise"][rows]
        soft = functional.softmax(noisy / self.wishes["generator"]["temperature"], -1)
        return (texts, positions), noisy.argmax(-1), soft

    def trained(self) -> Trained:
        """Return its losses and how far it moved."""
        moved = loop.update_of(loop.state(self.network), self.before)
        named = self.given.group("generator")
        movement: Arrays = {k: v for k, v in moved.items() if k in named and _IDLE not in k}
        return {
            "loss curve of generator": {"": np.array(self.losses)},
            "movement of generator": movement,
        }

    def _step(self, batch: Mapping[str, torch.Tensor]) -> None:
        warm = bool(batch["warm"])
        loss = self._of_masked(batch) if warm else self._of_made(batch)
        optimiser = self.first if warm else self.optimiser
        gradients = torch.autograd.grad(loss, self.weights)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        nn.utils.clip_grad_norm_(self.weights, self.wishes["generator"]["clip_norm"])
        optimiser.step()
        if warm:
            self.falling.step()
        self.losses.append(float(loss.detach()))

    def _of_masked(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the cross entropy of what is masked: a masked language model's."""
        tokens = batch["inputs"]
        texts, positions, _ = self._masked(tokens, batch["scores"])
        chosen = torch.zeros_like(tokens[:, 0], dtype=torch.bool)
        chosen[texts, positions] = True
        logits = self.network(tokens, chosen)[chosen]
        return functional.cross_entropy(logits, tokens[:, 0][chosen])

    def _of_made(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return -D of text in vectors, straight through what was drawn."""
        tokens = batch["inputs"]
        places, drawn, soft = self.draws(tokens, batch)
        hard = functional.one_hot(drawn, soft.shape[1]).double()
        through = hard - soft.detach() + soft
        outputs = []
        for network in (self.student, self.teacher):
            table = network.bert.embeddings.word_embeddings.weight.detach()
            embedded = table[tokens[:, 0]].index_put(places, through @ table)
            outputs.append(with_hidden(network.eval(), tokens, embedded)[0])
        return -_disagreement(*outputs)

    def _masked(
        self, tokens: torch.Tensor, scores: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return texts, positions and numbers of noise rows of what is masked.

        Of the words of a text, neither padding nor its frame, a share with the highest scores.
        """
        share, length = self.wishes["mask"], tokens.shape[2]
        most = min(max(math.floor(share * length + 0.5), 1), length)
        found: list[tuple[int, int, int]] = []
        for text in range(len(tokens)):
            last = int(tokens[text, 1].sum()) - 1
            words = range(1, last)
            wanted = math.floor(share * len(words) + 0.5)
            ranked = sorted(words, key=lambda at: -float(scores[text, at]))
            found += [(text, at, text * most + k) for k, at in enumerate(ranked[:wanted])]
        columns = torch.tensor(found, device=tokens.device).T
        return columns[0], columns[1], columns[2]

    def _recorded(self) -> list[dict[str, torch.Tensor]]:
        steps: list[dict[str, Any]] = []
        while group := self.given.group(f"round {len(steps)}"):
            steps.append({name: self.given.tensor(array) for name, array in group.items()})
        return steps


def _disagreement(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the mean of -sum softmax(t) log softmax(s)."""
    return functional.cross_entropy(student, functional.softmax(teacher, -1))
