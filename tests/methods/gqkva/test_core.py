from __future__ import annotations

import numpy as np
import pytest

from ms_eff.methods.gqkva.core import pool, relative_error, repeat
from ms_eff.models.heads import head_layout
from tests.tolerances import HOST

WEIGHT = np.random.default_rng(0).standard_normal((3 * 6 * 4, 10))


def test_pooling_is_the_mean_of_each_group() -> None:
    pooled = pool(WEIGHT, head_layout("gqkva", 6, (2, 3))).reshape(8, 4, 10)
    q, k, v = WEIGHT.reshape(3, 6, 4, 10)
    np.testing.assert_allclose(pooled[1], (q[3] + q[4] + q[5]) / 3, atol=HOST)
    np.testing.assert_allclose(pooled[2], (k[0] + k[3]) / 2, atol=HOST)
    np.testing.assert_allclose(pooled[7], (v[2] + v[5]) / 2, atol=HOST)


@pytest.mark.parametrize("kind", ["gqa", "gkva"])
def test_as_many_groups_as_heads_is_the_identity(kind) -> None:
    layout = head_layout(kind, 6, 6)
    np.testing.assert_array_equal(pool(WEIGHT, layout), WEIGHT)
    assert relative_error(WEIGHT, WEIGHT, layout) == 0.0


@pytest.mark.parametrize(("kind", "groups"), [("mqa", None), ("gkva", 2), ("gqkva", (3, 2))])
def test_repeated_projections_pool_back_and_lose_nothing(kind, groups) -> None:
    layout = head_layout(kind, 6, groups)
    shared = pool(WEIGHT, layout)
    again = pool(repeat(shared, layout), layout)
    np.testing.assert_allclose(again, shared, atol=HOST)
    assert relative_error(repeat(shared, layout), shared, layout) == pytest.approx(0.0)
    assert 0 < relative_error(WEIGHT, shared, layout) < 1


def test_zeros_have_no_error() -> None:
    layout = head_layout("mqa", 2)
    assert relative_error(np.zeros((6, 3)), np.zeros((4, 3)), layout) == 0.0
