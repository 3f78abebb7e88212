"""Whitening filters against the moments of their own outputs."""

from __future__ import annotations

import numpy as np
import pytest

from ms_eff.errors import DataError
from ms_eff.methods.small_data import patch_moments, whitening_filters

EPS = 1e-2


def _images(count: int = 20) -> np.ndarray:
    """Return images whose neighbouring pixels resemble each other, as photographs' do."""
    rough = np.random.default_rng(0).standard_normal((count, 3, 10, 10), dtype=np.float32)
    return (rough + np.roll(rough, 1, 2) + np.roll(rough, 1, 3)) / 2


@pytest.mark.parametrize("patch", [2, 3])
def test_outputs_have_the_second_moment_of_the_definition(patch) -> None:
    images = _images()
    moments, patches = patch_moments([images[:7], images[7:]], patch)
    side = 10 - patch + 1
    assert patches == 20 * side * side
    filters, values = whitening_filters(moments, 3, patch, EPS)
    assert filters.shape == (3 * patch**2, 3, patch, patch)
    assert (np.diff(values) <= 0).all()
    outputs = np.stack(
        [
            np.einsum("ncij,kcij->nk", images[:, :, y : y + patch, x : x + patch], filters)
            for y in range(side)
            for x in range(side)
        ]
    ).reshape(-1, len(filters))
    found = outputs.T.astype(np.float64) @ outputs / (patches - 1)
    np.testing.assert_allclose(found, np.diag(values / (values + EPS)), atol=1e-4)


def test_both_signs_are_each_other_s_negatives() -> None:
    moments, _ = patch_moments([_images()], 2)
    filters, _ = whitening_filters(moments, 3, 2, EPS, both_signs=True)
    assert len(filters) == 24
    np.testing.assert_array_equal(filters[:12], -filters[12:])


def test_no_images_are_an_error() -> None:
    with pytest.raises(DataError, match="0 patches of 3 x 3"):
        patch_moments([], 3)
