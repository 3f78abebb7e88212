"""The references are loops over positions, and sums written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ms_eff.methods.lowrank import moments
from ms_eff.methods.lowrank.moments import MomentSum, Window, patch_rows
from tests.tolerances import HOST

Array = np.ndarray


def drawn(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def patches_by_loops(image: Array, window: Window, padding: tuple[int, int, int, int]) -> Array:
    top, bottom, left, right = padding
    padded = np.pad(image, ((0, 0), (top, bottom), (left, right)))
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    rows = range(0, padded.shape[1] - (kh - 1) * dh, sh)
    columns = range(0, padded.shape[2] - (kw - 1) * dw, sw)
    return np.array(
        [
            [padded[c, i + a * dh, j + b * dw] for c, a, b in itertools.product(
                range(len(image)), range(kh), range(kw)
            )]
            for i, j in itertools.product(rows, columns)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    "window",
    [
        Window(),
        Window((3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
        Window((2, 3), (1, 2), (2, 1), (2, 1, 0, 2)),
    ],
)
def test_patches_are_those_of_a_loop(window: Window) -> None:
    images = drawn().standard_normal((2, 3, 7, 6))
    rows, positions = patch_rows(images, window, None, drawn())
    assert window.padding is not None
    for image, found in zip(images, rows, strict=True):
        expected = patches_by_loops(image, window, window.padding)
        assert positions == len(expected)
        np.testing.assert_array_equal(found, expected)


def test_a_limit_takes_some_of_the_patches() -> None:
    images = drawn().standard_normal((2, 3, 7, 6))
    whole, positions = patch_rows(images, Window((3, 3)), None, drawn())
    some, same = patch_rows(images, Window((3, 3)), 7, drawn())
    assert (some.shape, same) == ((2, 7, 27), positions)
    for image, found in zip(whole, some, strict=True):
        assert {tuple(row) for row in found} <= {tuple(row) for row in image}


@pytest.mark.parametrize("pieces", [1, 3])
def test_sums_do_not_depend_on_how_the_data_come(
    pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "_CHUNK", 3 * 27 * 25)
    images, g = drawn(1).standard_normal((6, 3, 7, 7)), drawn(2).standard_normal((6, 4, 5, 5))
    total = MomentSum(100, drawn())
    for part, gradient in zip(np.split(images, pieces), np.split(g, pieces), strict=True):
        total.add_inputs(part, Window((3, 3)), len(part))
        total.add_gradients(gradient, True, len(part))
    found = total.mean(6)
    assert found is not None
    rows = patch_rows(images, Window((3, 3)), None, drawn())[0]
    np.testing.assert_allclose(found.inputs, np.einsum("npi,npj->ij", rows, rows) / 6, atol=HOST)
    expected = np.einsum("nsij,ntij->st", g, g) / (6 * 25)
    np.testing.assert_allclose(found.gradients, expected, atol=HOST)


def test_tokens_are_summed_and_their_gradients_averaged() -> None:
    x, g = drawn(1).standard_normal((5, 4, 3)), drawn(2).standard_normal((5, 4, 2))
    total = MomentSum(100, drawn())
    total.add_inputs(x, None, 5)
    total.add_gradients(g, False, 5)
    found = total.mean(5)
    assert found is not None
    np.testing.assert_allclose(found.inputs, np.einsum("nti,ntj->ij", x, x) / 5, atol=HOST)
    np.testing.assert_allclose(found.gradients, np.einsum("nti,ntj->ij", g, g) / 20, atol=HOST)


def test_a_subsample_stands_for_the_whole() -> None:
    images, x = np.full((2, 1, 8, 8), 3.0), np.full((2, 50, 1), 3.0)
    for data, window, positions in ((images, Window(), 64), (x, None, 50)):
        total = MomentSum(10, drawn())
        total.add_inputs(data, window, 2)
        found = total.mean(2)
        assert found is not None
        assert found.inputs[0, 0] == pytest.approx(9.0 * positions)


def test_nothing_added_is_nothing_known() -> None:
    assert MomentSum(10, drawn()).mean(5) is None
