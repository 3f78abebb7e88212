from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from ms_eff.errors import PlanError
from ms_eff.methods.spatiotemporal.core import (
    VARIANTS,
    ConvShape,
    as_kernel,
    fit_branches,
    fit_shift,
    macs,
    middle_channels,
    weights,
)
from ms_eff.methods.spatiotemporal.plan import SpatiotemporalPlan
from ms_eff.methods.spatiotemporal.settings import Variant
from tests.tolerances import HOST

STRIDED = ConvShape(128, 256, stride=(2, 2, 2))


def test_weights_are_those_of_the_paper():
    assert weights("conv3d", STRIDED) == 884_736
    assert weights("add", STRIDED) == 458_752
    plain = ConvShape(96, 128)
    assert weights("conv3d", plain) == 27 * 96 * 128
    assert weights("add", plain) == weights("cat", plain) == 12 * 96 * 128


def test_r2plus1d_has_the_weights_of_a_3d_convolution():
    for C, S in ((96, 128), (128, 256), (512, 512)):
        middle = middle_channels(C, S)
        assert middle == 27 * C * S // (9 * C + 3 * S)
        found, dense = weights("r2plus1d", ConvShape(C, S)), 27 * C * S
        assert dense - (9 * C + 3 * S) < found <= dense


def test_shapes_of_the_paper_follow_from_the_strides():
    assert ConvShape(96, 128).output((16, 28, 28)) == (16, 28, 28)
    assert STRIDED.output((16, 28, 28)) == (8, 14, 14)
    assert STRIDED.output((8, 14, 14)) == (4, 7, 7)
    assert ConvShape(3, 4, (3, 7, 7), (1, 2, 2), (3, 3)).output((5, 9, 8)) == (5, 5, 4)


def test_macs_of_a_strided_add_count_the_frames_that_are_dropped_unless_aligned():
    size, places = (16, 28, 28), 8 * 14 * 14
    space, time, mix = 9 * 128 * 256, 3 * 128 * 256, 256 * 256
    assert macs("add", STRIDED, size) == (2 * space + time + mix) * places
    assert macs("add", STRIDED, size, aligned=True) == (space + time + mix) * places
    assert macs("conv3d", STRIDED, size) == weights("conv3d", STRIDED) * places


def test_least_squares_equals_a_solver_on_the_same_equations():
    kernel = np.random.default_rng(0).standard_normal((2, 3, 3, 3, 3))
    columns = []
    for at in range(9):
        spatial = np.zeros((1, 1, 3, 3))
        spatial.flat[at] = 1
        columns.append(as_kernel(spatial, np.zeros((1, 1, 3))).ravel())
    for at in range(3):
        temporal = np.zeros((1, 1, 3))
        temporal[0, 0, at] = 1
        columns.append(as_kernel(np.zeros((1, 1, 3, 3)), temporal).ravel())
    design = np.stack(columns, 1)
    solved = np.linalg.pinv(design) @ kernel.reshape(6, 27).T  # minimum norm, as ours
    spatial, temporal, error = fit_branches(kernel)
    np.testing.assert_allclose(spatial.reshape(6, 9).T, solved[:9], atol=HOST)
    np.testing.assert_allclose(temporal.reshape(6, 3).T, solved[9:], atol=HOST)
    residual = kernel.reshape(6, 27).T - design @ solved
    assert error == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(kernel), rel=HOST)


def test_a_kernel_of_slice_and_column_is_lost_nothing_of():
    rng = np.random.default_rng(1)
    kernel = as_kernel(rng.standard_normal((4, 2, 3, 3)), rng.standard_normal((4, 2, 3)))
    assert fit_branches(kernel)[2] == pytest.approx(0.0, abs=HOST)


def test_shift_reads_each_channels_own_slice():
    kernel = np.random.default_rng(2).standard_normal((4, 8, 3, 3, 3))
    found, error = fit_shift(kernel, 2)
    np.testing.assert_array_equal(found[:, :2], kernel[:, :2, 2])
    np.testing.assert_array_equal(found[:, 2:4], kernel[:, 2:4, 0])
    np.testing.assert_array_equal(found[:, 4:], kernel[:, 4:, 1])
    expected = 1 - np.linalg.norm(found) ** 2 / np.linalg.norm(kernel) ** 2
    assert error**2 == pytest.approx(expected)
    assert fit_shift(np.zeros_like(kernel), 2)[1] == 0.0


def test_settings_name_the_variants_that_there_are():
    assert get_args(Variant) == VARIANTS


def test_plan_comes_back_from_json():
    plan = SpatiotemporalPlan("cat", True, ("a", "b.c"), (1, 4, 3, 8, 8))
    assert SpatiotemporalPlan.from_json(plan.to_json()) == plan
    with pytest.raises(PlanError, match=r"expected 'ms_eff\.spatiotemporal/1'"):
        SpatiotemporalPlan.from_json({"format": "other"})
    with pytest.raises(PlanError, match="layers are expected"):
        SpatiotemporalPlan.from_json({"format": plan.to_json()["format"], "variant": "add"})
    with pytest.raises(PlanError, match="variant = 'sum'"):
        SpatiotemporalPlan.from_json({**plan.to_json(), "variant": "sum"})
