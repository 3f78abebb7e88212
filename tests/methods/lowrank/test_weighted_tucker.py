"""The references are sums over samples, einsum and least squares."""

from __future__ import annotations

import numpy as np
import pytest

from ms_eff.methods.lowrank.roots import damped
from ms_eff.methods.lowrank.tucker import tucker2
from ms_eff.methods.lowrank.weighted_tucker import (
    channel_moment,
    weighted_spectra,
    weighted_tucker2,
)
from tests.methods.lowrank.test_weighted import moment, sampled_loss, samples
from tests.tolerances import HOST

Array = np.ndarray
SHAPE = (16, 12, 3, 3)


def composed(first: Array, core: Array, last: Array) -> Array:
    return np.einsum("or,rchw,ci->oihw", last[:, :, 0, 0], core, first[:, :, 0, 0])


def trained(shape: tuple[int, ...], seen: int) -> tuple[Array, Array, Array]:
    """Return a weight with decaying modes, patches (n, seen) and gradients (S, m)."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(shape) * np.logspace(0, -1, shape[1])[:, None, None]
    return weight, samples(int(np.prod(shape[1:])), seen, 1), samples(shape[0], 200, 2)


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("seen", [500, 30])
def test_never_worse_than_plain_tucker(seen: int, two_sided: bool) -> None:
    weight, patches, gradients = trained(SHAPE, seen)
    F = moment(gradients) if two_sided else None
    for ranks in ((1, 1), (4, 6), (8, 3), (10, 14)):
        losses = [
            sampled_loss(
                (weight - composed(*kernels)).reshape(len(weight), -1),
                patches,
                gradients if two_sided else None,
            )
            for kernels in (
                weighted_tucker2(weight, ranks, moment(patches), F),
                tucker2(weight, ranks),
            )
        ]
        assert losses[0] < losses[1]


def test_core_and_output_factor_are_the_optimum_for_their_subspace() -> None:
    weight, patches, gradients = trained(SHAPE, 400)
    first, core, last = weighted_tucker2(weight, (5, 7), moment(patches), moment(gradients))
    # regress the outputs on the reduced patches, then truncate by the SVD of what is left
    reduced = np.einsum("rc,ctn->rtn", first[:, :, 0, 0], patches.reshape(12, 9, -1)).reshape(
        45, -1
    )
    outputs = weight.reshape(16, -1) @ patches
    kernel = np.linalg.lstsq(reduced.T, outputs.T, rcond=None)[0].T
    unseen = sampled_loss(outputs - kernel @ reduced, np.eye(400), gradients)
    U, s, _ = np.linalg.svd(gradients, full_matrices=False)
    tail = np.linalg.svd((U * s).T @ kernel @ reduced, compute_uv=False)[7:]
    expected = unseen + np.sum(tail**2) / gradients.shape[1] / 400
    achieved = sampled_loss(
        (weight - composed(first, core, last)).reshape(16, -1), patches, gradients
    )
    assert achieved == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(12, 9, 3, 3), (9, 12, 1, 5), (40, 2, 3, 3)])
@pytest.mark.parametrize("seen", [300, 6])
def test_full_rank_is_exact(shape: tuple[int, ...], seen: int) -> None:
    weight, patches, gradients = trained(shape, seen)
    kernels = weighted_tucker2(weight, (shape[1], shape[0]), moment(patches), moment(gradients))
    assert [k.shape[:2] for k in kernels] == [(shape[1],) * 2, shape[:2], (shape[0],) * 2]
    np.testing.assert_allclose(composed(*kernels), weight, atol=1e-8)


def test_with_white_inputs_it_is_plain_tucker() -> None:
    weight = np.random.default_rng(4).standard_normal(SHAPE)
    plain = composed(*tucker2(weight, (6, 8)))
    found = composed(*weighted_tucker2(weight, (6, 8), np.eye(108)))
    assert np.linalg.norm(weight - found) <= np.linalg.norm(weight - plain) * (1 + 1e-12)


def test_outer_factors_are_of_unit_length() -> None:
    weight, patches, gradients = trained(SHAPE, 400)
    first, _, last = weighted_tucker2(weight, (5, 7), moment(patches), moment(gradients))
    np.testing.assert_allclose(first[:, :, 0, 0] @ first[:, :, 0, 0].T, np.eye(5), atol=HOST)
    np.testing.assert_allclose(np.linalg.norm(last[:, :, 0, 0], axis=0), 1.0, atol=HOST)


@pytest.mark.parametrize("seen", [500, 30])
def test_both_tails_bound_the_loss(seen: int) -> None:
    weight, patches, gradients = trained(SHAPE, seen)
    first, second = weighted_spectra(weight, moment(patches), moment(gradients))
    whole = sampled_loss(weight.reshape(16, -1), patches, gradients)
    assert np.sum(first**2) == pytest.approx(whole, rel=1e-6)
    assert np.sum(second**2) == pytest.approx(whole, rel=1e-6)
    for r1, r2 in ((2, 3), (5, 7), (9, 12)):
        kernels = weighted_tucker2(weight, (r1, r2), moment(patches), moment(gradients))
        error = (weight - composed(*kernels)).reshape(16, -1)
        bound = np.sum(first[r1:] ** 2) + np.sum(second[r2:] ** 2)
        assert sampled_loss(error, patches, gradients) <= bound * (1 + 1e-6) + 1e-9 * whole


def test_the_second_spectrum_is_that_of_the_matrix() -> None:
    weight, patches, gradients = trained(SHAPE, 200)
    _, second = weighted_spectra(weight, moment(patches), moment(gradients))
    U, s, _ = np.linalg.svd(gradients, full_matrices=False)
    target = (U * s).T @ weight.reshape(16, -1) @ patches / np.sqrt(200 * 200)
    np.testing.assert_allclose(second, np.linalg.svd(target, compute_uv=False), rtol=1e-6)


def test_channels_moment_is_the_mean_over_taps() -> None:
    patches = samples(24, 50, 1)
    pixels = patches.reshape(4, 6, 50).transpose(0, 1, 2).reshape(4, -1)
    np.testing.assert_allclose(channel_moment(moment(patches), 4), moment(pixels), atol=HOST)


def test_vanishing_moments_are_no_trouble() -> None:
    weight = np.random.default_rng(5).standard_normal((4, 3, 3, 3))
    F = damped(np.zeros((4, 4)), 0.1)
    kernels = weighted_tucker2(weight, (2, 2), np.zeros((27, 27)), F)
    spectra = weighted_spectra(weight, np.zeros((27, 27)), F)
    assert all(np.isfinite(array).all() for array in (*kernels, *spectra))


@pytest.mark.parametrize("ranks", [(0, 1), (4, 1), (1, 6)])
def test_ranks_must_fit(ranks: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="ranks"):
        weighted_tucker2(np.ones((5, 3, 3, 3)), ranks, np.eye(27))
