from __future__ import annotations

import numpy as np
import pytest

from ms_eff.models.positions import resize_grid, resize_positions
from tests.tolerances import LAYER


@pytest.mark.parametrize("grid", [(7, 7), (24, 24), (3, 11), (14, 14)])
def test_grid_is_resampled_as_torchs_antialiased_bicubic(grid) -> None:
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).standard_normal((14, 14, 5)).astype(np.float32)
    stacked = torch.from_numpy(values).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(
        stacked, grid, mode="bicubic", antialias=True, align_corners=False
    )
    found = resize_grid(values, grid)
    np.testing.assert_allclose(found, expected[0].permute(1, 2, 0).numpy(), rtol=0, atol=LAYER)


def test_same_grid_is_exact() -> None:
    values = np.random.default_rng(1).standard_normal((4, 4, 3))
    np.testing.assert_allclose(resize_grid(values, (4, 4)), values, rtol=0, atol=1e-14)


def test_prefix_stays_and_dtype_is_kept() -> None:
    positions = np.random.default_rng(2).standard_normal((1, 10, 3)).astype(np.float32)
    resized, grid = resize_positions(positions, (2, 5), prefix=1)
    assert grid == (3, 3)
    assert resized.shape == (1, 11, 3)
    assert resized.dtype == np.float32
    np.testing.assert_array_equal(resized[:, 0], positions[:, 0])


@pytest.mark.parametrize("shape", [(1, 8, 3), (1, 1, 3), (2, 10, 3), (10, 3)])
def test_positions_of_no_square_grid_are_refused(shape) -> None:
    assert resize_positions(np.zeros(shape), (2, 2), prefix=1) is None
