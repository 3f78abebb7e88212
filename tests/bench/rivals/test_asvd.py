"""The reference is ASVD as its paper has it: the SVD of W S, S undone."""

from __future__ import annotations

import numpy as np
import pytest

from ms_eff.bench.rivals.asvd import ActivationScaling
from ms_eff.methods.progressive.truncate import decompose
from tests.tolerances import FP32


class _Moments:
    """The statistics of one layer, from inputs (n, C)."""

    owners = {"layer": "layer"}  # noqa: RUF012
    made_from = {"tokens": 1}  # noqa: RUF012

    def __init__(self, inputs: np.ndarray) -> None:
        self.rows = inputs

    def inputs(self, name: str) -> np.ndarray:
        return self.rows.T @ self.rows


class _Source:
    def __init__(self, weight: np.ndarray) -> None:
        self.weight = weight

    def array(self, name: str) -> np.ndarray:
        assert name == "layer.weight"
        return self.weight


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_factors_are_those_of_the_scaled_matrix_with_the_scale_undone(tmp_path, alpha) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((9, 7)).astype(np.float32)
    x = rng.standard_normal((500, 7)) * np.geomspace(0.3, 3, 7)
    scaling = ActivationScaling(_Moments(x), alpha)
    found = decompose(_Source(weight), {"layer": (9, 7)}, scaling, tmp_path)
    first, last = found.pair("layer", 3)
    scale = np.sqrt(np.mean(x**2, axis=0)) ** alpha
    U, sigma, V = np.linalg.svd(weight * scale, full_matrices=False)
    expected = (U[:, :3] * sigma[:3]) @ V[:3] / scale
    np.testing.assert_allclose(last @ first, expected, rtol=FP32, atol=FP32)


def test_mean_magnitude_and_root_mean_square_agree_where_channels_differ_by_scale_alone() -> None:
    x = np.random.default_rng(1).standard_normal((20_000, 5)) * np.geomspace(0.1, 10, 5)
    ours = np.sqrt(np.diag(ActivationScaling(_Moments(x)).inputs("layer").matrix))
    theirs = np.mean(np.abs(x), axis=0) ** 0.5
    ratio = ours / theirs
    np.testing.assert_allclose(ratio, ratio[0], rtol=0.01)


def test_a_channel_that_was_never_seen_leaves_the_scale_invertible() -> None:
    x = np.ones((4, 3)) * [1.0, 0.0, 2.0]
    assert (np.diag(ActivationScaling(_Moments(x)).inputs("layer").matrix) > 0).all()
