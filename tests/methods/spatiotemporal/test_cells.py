from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from ms_eff.methods.spatiotemporal.cells import TwoBranch
from ms_eff.methods.spatiotemporal.core import VARIANTS, ConvShape, macs, weights
from ms_eff.methods.spatiotemporal.transfer import take_over
from ms_eff.methods.spatiotemporal.variants import build
from tests.tolerances import FP32, LAYER

FOUR_D = [variant for variant in VARIANTS if variant != "conv3d"]


def clips(batch: int, channels: int, size: tuple[int, int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, channels, *size), dtype=np.float32)


def folded(x: np.ndarray) -> ms.Tensor:
    """(B, C, T, H, W) to (B * T, C, H, W)."""
    batch, channels, frames, *side = x.shape
    return ms.Tensor(x.transpose(0, 2, 1, 3, 4).reshape(batch * frames, channels, *side))


def unfolded(x: ms.Tensor, batch: int) -> np.ndarray:
    y = x.asnumpy()
    return y.reshape(batch, -1, *y.shape[1:]).transpose(0, 2, 1, 3, 4)


def cell(variant: str, shape: ConvShape, frames: int, **rest):
    made = build(variant, shape, np.random.default_rng(3), **rest)
    made.frames = frames
    return made.set_train(False)


def convolved(x: np.ndarray, weight: np.ndarray, stride: tuple[int, int, int] = (1, 1, 1)):
    """A 3D convolution, padded by half its kernel, as sums over shifted inputs in float64."""
    pads = [(0, 0), (0, 0), *((k // 2, k // 2) for k in weight.shape[2:])]
    padded = np.pad(x.astype(np.float64), pads)
    size = [(n - 1) // s + 1 for n, s in zip(x.shape[2:], stride, strict=True)]
    out = np.zeros((x.shape[0], weight.shape[0], *size))
    for at in np.ndindex(*weight.shape[2:]):
        window = tuple(
            slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(at, size, stride, strict=True)
        )
        out += np.einsum("sc,bcthw->bsthw", weight[(..., *at)], padded[(..., *window)])
    return out


@pytest.mark.gate
def test_shapes_are_those_of_the_paper():
    x = folded(clips(2, 6, (16, 28, 28)))
    add = cell("add", ConvShape(6, 8), 16)
    assert add.spatial(x).shape == (32, 8, 28, 28)
    assert add.temporal(x, 16).shape == (32, 8, 28, 28)
    assert cell("cat", ConvShape(6, 8), 16)(x).shape == (32, 16, 28, 28)
    down = cell("add", ConvShape(6, 8, stride=(2, 2, 2)), 16)
    assert down(x).shape == (16, 8, 14, 14)


@pytest.mark.parametrize("stride", [1, 2])
def test_add_equals_conv3d_with_slice_and_column(stride):
    # strided: where the temporal branch reads the grid, and the 1x1 convolution changes nothing
    strides = (stride,) * 3
    x = clips(2, 5, (6, 8, 10))
    add = cell("add", ConvShape(5, 7, stride=strides), 6, aligned=True)
    if add.mix is not None:
        eye = np.eye(7, dtype=np.float32)[:, :, None, None]
        add.mix.conv.weight.set_data(ms.Tensor(eye))
    kernel = np.zeros((7, 5, 3, 3, 3))
    kernel[:, :, 1] += add.spatial.conv.weight.asnumpy()
    kernel[:, :, :, 1, 1] += add.temporal.unit.conv.weight.asnumpy()[..., 0]
    expected = convolved(x, kernel, strides)
    np.testing.assert_allclose(unfolded(add(folded(x)), 2), expected, atol=FP32)


def test_paper_s_stride_over_flattened_pixels_reads_other_columns():
    x = clips(1, 3, (4, 8, 8))
    down = ConvShape(3, 5, stride=(2, 2, 2))
    faithful = cell("add", down, 4)
    found = faithful.temporal(folded(x), 4).asnumpy()
    weight = faithful.temporal.unit.conv.weight.asnumpy()[..., 0]
    every_fourth = x.reshape(1, 3, 4, 64)[..., ::4].reshape(1, 3, 4, 4, 4)
    grid = x[..., ::2, ::2]
    for pixels, same in ((every_fourth, True), (grid, False)):
        expected = convolved(pixels, weight[..., None, None], (2, 1, 1))
        assert np.allclose(found, expected[0].transpose(1, 0, 2, 3), atol=LAYER) == same


def random_norm(channels: int, seed: int) -> nn.BatchNorm2d:
    norm, rng = nn.BatchNorm2d(channels, eps=1e-3), np.random.default_rng(seed)
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        values = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        getattr(norm, name).set_data(ms.Tensor(values))
    return norm


def normalised(x: np.ndarray, norm: nn.BatchNorm2d) -> np.ndarray:
    """A batch normalisation at inference, of (B, C, T, H, W) in float64."""
    scale, shift, mean, variance = (
        getattr(norm, name).asnumpy().astype(np.float64)[:, None, None, None]
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return scale * (x - mean) / np.sqrt(variance + norm.eps) + shift


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (1, 2, 2), (2, 1, 1)])
def test_cat_equals_both_branches_with_a_norm_each(stride, aligned):
    step, down, _ = stride
    batch, frames, side = 2, 6, 8
    x = clips(batch, 5, (frames, side, side))
    made = cell("cat", ConvShape(5, 7, stride=stride), frames, norm=random_norm(7, 0),
                aligned=aligned, bias=True)  # fmt: skip
    made.spatial.conv.bias.set_data(ms.Tensor(np.arange(7, dtype=np.float32)))
    last = made.spatial if made.mix is None else made.mix
    last.norm, made.temporal.unit.norm = (random_norm(7, s).set_train(False) for s in (1, 2))

    space = convolved(x, made.spatial.conv.weight.asnumpy()[:, :, None], (1, down, down))
    space += np.arange(7)[:, None, None, None]
    if step > 1:  # the 1x1 convolution reads every other frame
        mixing = made.mix.conv.weight.asnumpy()[:, :, 0, 0].astype(np.float64)
        space = np.einsum("sc,bcthw->bsthw", mixing, space[:, :, ::step])
    if aligned:
        pixels = x[..., ::down, ::down]
    else:  # every s^2-th of the flattened ones, read as a smaller map
        pixels = x.reshape(batch, 5, frames, -1)[..., :: down * down]
        pixels = pixels.reshape(batch, 5, frames, side // down, side // down)
    time = convolved(pixels, made.temporal.unit.conv.weight.asnumpy()[..., None], (step, 1, 1))
    expected = np.concatenate(
        [normalised(space, last.norm), normalised(time, made.temporal.unit.norm)], axis=1
    )
    found = unfolded(made(folded(x)), batch)
    assert found.shape == (batch, 14, frames // step, side // down, side // down)
    np.testing.assert_allclose(found, expected, atol=FP32)


@pytest.mark.parametrize(
    ("kernel", "padding", "stride"),
    [((1, 3, 3), (1, 1), (1, 1, 1)), ((3, 1, 1), (0, 0), (1, 1, 1)), ((3, 1, 1), (0, 0), (2, 2, 2)),
     ((1, 1, 1), (0, 0), (2, 2, 2)), ((1, 3, 3), (1, 1), (1, 2, 2))],
)  # fmt: skip
def test_one_sided_kernels_equal_their_2d_convolution(kernel, padding, stride):
    shape = ConvShape(3, 4, kernel, stride, padding)
    conv = nn.Conv3d(3, 4, kernel, stride, pad_mode="pad", has_bias=True,
                     padding=tuple(k // 2 for k in kernel for _ in range(2)))  # fmt: skip
    conv.bias.set_data(ms.Tensor(np.arange(4, dtype=np.float32)))
    x = clips(2, 3, (6, 8, 8))
    expected = convolved(x, conv.weight.asnumpy(), stride) + np.arange(4)[:, None, None, None]
    for variant in ("add", "tsm"):
        block = cell(variant, shape, 6, bias=True)
        assert take_over(conv, None, block) == 0.0
        np.testing.assert_allclose(unfolded(block(folded(x)), 2), expected, atol=LAYER)


def test_tsm_reads_an_eighth_of_the_channels_from_either_neighbour():
    x = clips(2, 8, (4, 6, 6))
    tsm = cell("tsm", ConvShape(8, 3), 4)
    shifted = x.copy()
    shifted[:, 0, :-1], shifted[:, 0, -1] = x[:, 0, 1:], 0
    shifted[:, 1, 1:], shifted[:, 1, 0] = x[:, 1, :-1], 0
    expected = convolved(shifted, tsm.spatial.conv.weight.asnumpy()[:, :, None])
    np.testing.assert_allclose(unfolded(tsm(folded(x)), 2), expected, atol=LAYER)


@pytest.mark.gate
def test_serial_variants_equal_two_3d_convolutions():
    x = clips(1, 3, (4, 6, 6))
    for variant in ("r2plus1d", "p3d_a", "p3d_c", "rank1"):
        made = cell(variant, ConvShape(3, 4, stride=(2, 2, 2)), 4)
        if variant == "rank1":
            y = convolved(x, made.height.conv.weight.asnumpy()[:, :, None], (1, 2, 1))
            y = convolved(y, made.width.conv.weight.asnumpy()[:, :, None], (1, 1, 2))
        else:
            y = convolved(x, made.spatial.conv.weight.asnumpy()[:, :, None], (1, 2, 2))
            y = np.maximum(y, 0)
        time = made.temporal.unit.conv.weight.asnumpy()[..., None]
        expected = convolved(y, time, (2, 1, 1)) + (y[:, :, ::2] if variant == "p3d_c" else 0)
        np.testing.assert_allclose(unfolded(made(folded(x)), 1), expected, atol=LAYER)


def test_p3d_b_equals_two_3d_convolutions_side_by_side():
    x = clips(1, 3, (4, 6, 6))
    made = cell("p3d_b", ConvShape(3, 4, stride=(2, 2, 2)), 4)
    space = made.spatial.spatial.conv.weight.asnumpy()[:, :, None]
    time = made.temporal.temporal.unit.conv.weight.asnumpy()[..., None]
    expected = sum(np.maximum(convolved(x, w, (2, 2, 2)), 0) for w in (space, time))
    np.testing.assert_allclose(unfolded(made(folded(x)), 1), expected, atol=LAYER)


@pytest.mark.parametrize("variant", FOUR_D)
def test_counts_are_those_of_the_cell(variant):
    from ms_eff.bench.counts import count, totals

    for shape in (ConvShape(6, 8), ConvShape(6, 8, stride=(2, 2, 2)),
                  ConvShape(6, 8, (1, 1, 1), (2, 2, 2), (0, 0)),
                  ConvShape(6, 8, (3, 1, 1), padding=(0, 0))):  # fmt: skip
        for aligned in (False, True):
            made = _Whole(cell(variant, shape, 4, aligned=aligned))
            found = totals(count(made, (1, 4, 6, 8, 8)))
            assert found["params"] == weights(variant, shape)
            assert found["macs"] == macs(variant, shape, (4, 8, 8), aligned)


class _Whole(nn.Cell):
    """One clip to a cell for folded ones: the counter's batch of one."""

    def __init__(self, inner: nn.Cell) -> None:
        super().__init__()
        self.inner = inner

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.inner(ops.reshape(x, (-1, *x.shape[2:])))


def test_a_map_that_the_stride_does_not_divide_is_named():
    down = cell("add", ConvShape(3, 5, stride=(2, 2, 2)), 4)
    with pytest.raises(ValueError, match="use aligned=True"):
        down(folded(clips(1, 3, (4, 7, 7))))
    aligned = cell("add", ConvShape(3, 5, stride=(2, 2, 2)), 4, aligned=True)
    assert aligned(folded(clips(1, 3, (4, 7, 7)))).shape == (2, 5, 4, 4)
    assert isinstance(aligned, TwoBranch)
