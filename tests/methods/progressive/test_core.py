"""Ranks of members."""

from __future__ import annotations

import numpy as np
import pytest

from ms_eff.errors import PlanError
from ms_eff.methods.progressive.core import (
    block_shapes,
    family_plan,
    global_ranks,
    kept_weights,
    uniform_ranks,
)
from ms_eff.models.gpt2_shape import GPT2Shape

MISTRAL = {
    "q": (4096, 4096),
    "k": (1024, 4096),
    "v": (1024, 4096),
    "o": (4096, 4096),
    "gate": (14336, 4096),
}


def test_published_ranks_of_mistral_and_gpt2() -> None:
    assert list(uniform_ranks(MISTRAL, 2.0).values()) == [1024, 409, 409, 1024, 1592]
    gpt2 = block_shapes(GPT2Shape(depth=1))
    assert list(gpt2) == [f"blocks.0.{n}" for n in ("attn.qkv", "attn.proj", "fc1", "fc2")]
    assert list(uniform_ranks(gpt2, 2.0).values()) == [288, 192, 307, 307]
    assert list(uniform_ranks(gpt2, 4.0).values()) == [144, 96, 153, 153]


def test_ranks_are_rounded_down_to_the_divisor() -> None:
    assert list(uniform_ranks(MISTRAL, 2.0, 16).values()) == [1024, 400, 400, 1024, 1584]
    with pytest.raises(PlanError, match=r"no rank of 'a' \(8, 8\)"):
        uniform_ranks({"a": (8, 8)}, 2.0, 16)


def test_one_budget_goes_where_it_saves_most_loss() -> None:
    rng = np.random.default_rng(0)
    shapes = {"a": (12, 8), "b": (8, 8), "c": (6, 20)}
    losses = {n: np.sort(rng.random(min(s) - 1) * k)[::-1]
              for k, (n, s) in enumerate(shapes.items(), 1)}  # fmt: skip
    losses = {
        n: row[: s[0] * s[1] // sum(s)]
        for (n, s), row in zip(shapes.items(), losses.values(), strict=True)
    }
    budget = int(sum(a * b for a, b in shapes.values()) / 1.5)
    found = global_ranks(shapes, losses, 1.5)

    def lost(ranks: dict[str, int | None]) -> float:
        return sum(0.0 if r is None else losses[n][r - 1] for n, r in ranks.items())

    options = [[None, *range(1, len(losses[n]) + 1)] for n in shapes]
    every = [
        dict(zip(shapes, (a, b, c), strict=True))
        for a in options[0]
        for b in options[1]
        for c in options[2]
    ]
    best = min(lost(r) for r in every if kept_weights(shapes, r) <= budget)
    assert kept_weights(shapes, found) <= budget
    assert lost(found) <= best * 1.25 + 1e-12  # greedy: near the exhaustive optimum


def test_a_budget_out_of_reach_is_refused() -> None:
    with pytest.raises(PlanError, match="ratio 9"):
        global_ranks({"a": (4, 4)}, {"a": np.array([1.0])}, 9.0)


def test_whole_matrices_are_not_in_the_plan() -> None:
    plan = family_plan({"a": (4, 6), "b": (4, 4)}, {"a": 2, "b": None}, {})
    assert [(layer.name, layer.rank) for layer in plan.layers] == [("a", (2,))]
