"""Nested factors and the step that truncates them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import linalg

from ms_eff.errors import ConfigError
from ms_eff.methods.lowrank.moments import Moments
from ms_eff.methods.lowrank.roots import InputMoment, output_root
from ms_eff.methods.lowrank.weighted import nested_factors, weighted_factors, weighted_loss
from ms_eff.methods.progressive.statistics import SavedMoments, StatisticsWriter
from ms_eff.methods.progressive.truncate import Whitening, decompose, truncated_pair
from tests.tolerances import HOST

RNG = np.random.default_rng(0)


class One:
    """A model of one matrix."""

    def __init__(self, weight: np.ndarray) -> None:
        self.weight = weight

    def array(self, name: str) -> np.ndarray:
        assert name == "fc.weight"
        return self.weight


def gram(n: int, samples: int) -> np.ndarray:
    x = RNG.standard_normal((samples, n)) * np.geomspace(1, 1e-3, n)
    return x.T @ x / samples


def test_step_by_step_equals_one_shot_without_training() -> None:
    W = RNG.standard_normal((64, 48))
    first, last = (f.astype(np.float32) for f in nested_pair(W, 24))
    twice = truncated_pair(first, last, 12)
    once = nested_pair(W, 12)
    product = twice[1] @ twice[0]
    np.testing.assert_allclose(product, once[1] @ once[0], atol=1e-5)
    sigma = np.linalg.svd(W, compute_uv=False)
    assert np.linalg.norm(W - product) == pytest.approx(np.sqrt((sigma[12:] ** 2).sum()), rel=1e-5)
    assert [f.shape for f in twice] == [(12, 48), (64, 12)]


def nested_pair(W: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    found = nested_factors(W, rank)
    return found.first, found.last


@pytest.mark.parametrize("samples", [200, 9], ids=["full", "rank-deficient"])
def test_every_lower_rank_meets_its_theoretical_minimum(samples: int) -> None:
    W, G, F = RNG.standard_normal((20, 30)), gram(30, samples), gram(20, 100) + np.eye(20) * 1e-3
    found = nested_factors(W, 11, InputMoment(G), output_root(F))
    # an independent root: Cholesky of F, eigenvectors of G
    values, vectors = linalg.eigh(G)
    half = vectors * np.sqrt(np.maximum(values, 0))
    sigma = linalg.svdvals(linalg.cholesky(F).conj() @ W @ half)
    for rank in range(1, 12):
        minimum = np.append((sigma**2)[rank:], 0).sum()
        loss = weighted_loss(W - found.last[:, :rank] @ found.first[:rank], G, F)
        slack = 1e-12 * (sigma**2).sum()
        assert loss == pytest.approx(minimum, rel=1e-6, abs=slack)
        assert found.losses[rank - 1] == pytest.approx(minimum, rel=1e-6, abs=slack)
    first, last = weighted_factors(W, 5, G, F)
    np.testing.assert_allclose(last @ first, found.last[:, :5] @ found.first[:5], atol=HOST * 1e2)


def test_the_second_factor_judged_by_what_it_is_handed_is_the_product_judged() -> None:
    first, last, G = RNG.standard_normal((8, 16)), RNG.standard_normal((12, 8)), gram(16, 60)
    inputs = InputMoment(G)
    a, b = truncated_pair(first, last, 3, inputs)
    joint = nested_factors(last @ first, 3, inputs)
    loss = weighted_loss(last @ first - joint.last @ joint.first, G)
    assert weighted_loss(last @ first - b.astype(float) @ a, G) == pytest.approx(loss, rel=1e-4)
    # the paper's step does not see the first factor, and loses more
    a, b = truncated_pair(first, last, 3)
    assert np.linalg.norm(last @ first - b @ a) > np.linalg.norm(
        last @ first - np.linalg.multi_dot(nested_pair(last @ first, 3)[::-1])
    )


def test_a_rank_above_the_one_held_is_refused() -> None:
    first, last = np.ones((2, 4)), np.ones((3, 2))
    assert truncated_pair(first, last, 2)[0] is first
    with pytest.raises(ValueError, match="expected 1 to 2"):
        truncated_pair(first, last, 3)
    with pytest.raises(ValueError, match="expected 1 to 3"):
        nested_factors(np.ones((4, 5)), 4)


def test_factors_on_disk_serve_every_rank_and_are_made_once(tmp_path: Path) -> None:
    W, G, F = RNG.standard_normal((10, 14)).astype(np.float32), gram(14, 50), gram(10, 50)
    writer = StatisticsWriter(tmp_path / "moments", {"tokens": 3})
    writer.add({"fc": Moments(G, F)})
    saved = writer.finish()
    whitening, told = Whitening("two_sided", saved), []
    for _ in range(2):
        found = decompose(One(W), {"fc": (10, 14)}, whitening, tmp_path / "f", told.append)
    assert told == ["fc", "fc"]
    losses = found.losses("fc")
    assert len(losses) == 139 // 24
    for rank in (1, 4):
        first, last = found.pair("fc", rank)
        assert first.dtype == last.dtype == np.float32
        loss = weighted_loss(W - last @ first, G, F + 0.1 * np.trace(F) / 10 * np.eye(10))
        assert losses[rank - 1] == pytest.approx(loss, rel=1e-3)


def test_factors_of_another_model_or_of_other_statistics_are_refused(tmp_path: Path) -> None:
    shapes = {"fc": (10, 14)}

    def whitening(rule: str, tokens: int) -> Whitening:
        writer = StatisticsWriter(tmp_path / f"moments-{tokens}", {"tokens": tokens})
        writer.add({"fc": Moments(gram(14, 50), gram(10, 50))})
        return Whitening(rule, writer.finish())

    W, folder, known = (
        One(RNG.standard_normal((10, 14))),
        tmp_path / "f",
        whitening("activation", 3),
    )
    made = decompose(W, shapes, known, folder).file("fc").stat().st_mtime_ns
    assert decompose(W, shapes, known, folder).file("fc").stat().st_mtime_ns == made
    others = {
        "source": (One(W.weight + 1e-6), known),
        "rule: activation -> two_sided": (W, Whitening("two_sided", known.moments)),
        "statistics.tokens: 3 -> 4": (W, whitening("activation", 4)),
        "rule: activation -> weight": (W, Whitening("weight", None)),
    }
    for difference, (source, other) in others.items():
        with pytest.raises(ConfigError, match=f"{folder}: .*{difference}.*; delete that folder"):
            decompose(source, shapes, other, folder)
    (folder / "made_from.json").unlink()
    with pytest.raises(ConfigError, match=r"it has no made_from\.json"):
        decompose(W, shapes, known, folder)


def test_statistics_share_an_input_and_know_what_they_are_of(tmp_path: Path) -> None:
    G = gram(4, 9)
    moments = {n: Moments(G, gram(3, 9)) for n in ("q", "k")} | {"o": Moments(gram(4, 9), G)}
    writer = StatisticsWriter(tmp_path, {"tokens": 3})
    writer.add(moments)
    assert not SavedMoments.held_by(tmp_path)
    writer.finish()
    saved = SavedMoments(tmp_path)
    assert saved.owners == {"q": "q", "k": "q", "o": "o"}
    for name, found in moments.items():
        np.testing.assert_array_equal(saved[name].inputs, found.inputs)
        np.testing.assert_array_equal(saved[name].gradients, found.gradients)
    saved.check({"tokens": 3})
    with pytest.raises(ConfigError, match="tokens: 3 -> 4"):
        saved.check({"tokens": 4})
