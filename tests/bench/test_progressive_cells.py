"""The cells of the training-free table."""

from __future__ import annotations

import numpy as np

from ms_eff.bench.progressive_cells import (
    CELLS,
    IN_ORDER,
    LOSSES,
    REFERENCE,
    RULES,
    ordered,
    table,
    verdicts,
)
from ms_eff.methods.lowrank.roots import InputMoment
from ms_eff.methods.lowrank.weighted import nested_factors


def test_losses_are_those_of_the_outputs_error() -> None:
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((8, 12)), rng.standard_normal((12, 50))
    g = rng.standard_normal((8, 40)) * 0.1
    found = nested_factors(W, 4, InputMoment(x @ x.T))
    gradient = float(np.mean(g**2))
    for rank in (1, 3, 4):
        raw = np.sum(((W - found.last[:, :rank] @ found.first[:rank]) @ x) ** 2)
        expected = {
            "global_raw": raw,
            "global_relative": raw / np.sum((W @ x) ** 2),
            "global_gradient": raw * gradient,
        }
        for name, loss in LOSSES.items():
            np.testing.assert_allclose(loss(found.energies, gradient)[rank - 1], expected[name])


def test_what_has_a_reference_is_measured_first() -> None:
    assert ordered(RULES) == list(CELLS)
    assert CELLS[:2] == (("activation_aware", "uniform"), ("two_sided", "global"))
    assert set(REFERENCE) - {("dense", ""), (IN_ORDER, "uniform")} <= set(CELLS)
    assert len(set(CELLS)) == len(CELLS) == 4 * 2 + len(LOSSES)
    assert ordered(["asvd", "two_sided"], ["uniform", "global"]) == [
        ("two_sided", "global"), ("asvd", "uniform"), ("asvd", "global"), ("two_sided", "uniform"),
    ]  # fmt: skip


def test_the_table_shows_what_there_is() -> None:
    row = {"rule": "two_sided", "allocation": "global", "removed": 0.2, "perplexity": 26.04}
    assert table([row]).splitlines()[1].split() == ["two_sided", "global", "26.0", "[26]"]


def test_the_verdict_counts_what_has_a_reference() -> None:
    rows = [
        {"rule": "dense", "allocation": "", "removed": 0.0, "perplexity": 20.6},
        {"rule": "activation_aware", "allocation": "uniform", "removed": 0.4, "perplexity": 100.0},
        {"rule": "plain", "allocation": "uniform", "removed": 0.4, "perplexity": 45.0},
    ]
    first, second = verdicts(rows)
    assert first.startswith("1 of 2 references reproduced within 3 %; farthest: activation_aware ")
    assert first.endswith("uniform, 40 % removed: +4.3 %")
    assert second == "40 % removed: best plain uniform, 45.0; the references' best 41: NOT beaten"
