from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

from ms_eff.bench.counts import count, totals
from ms_eff.errors import ConfigError


class Convs(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(4, 6, 3, stride=2, pad_mode="pad", padding=1, has_bias=True)
        self.dilated = nn.Conv2d(6, 8, 3, dilation=2, pad_mode="valid")
        self.grouped = nn.Conv2d(8, 8, 3, group=4, pad_mode="same")
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.Conv2dTranspose(8, 5, 3, stride=2, pad_mode="same")
        self.head = nn.Dense(5, 10)

    def construct(self, x):
        y = self.norm(self.grouped(self.dilated(self.plain(x))))
        return self.head(self.up(y).mean((2, 3)))


class Tied(nn.Cell):
    """A block called twice, a parameter shared by two cells, a cell never called."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Dense(8, 8, has_bias=False)
        self.other = nn.Dense(8, 8, has_bias=False)
        self.other.weight = self.block.weight
        self.idle = nn.Dense(8, 3)

    def construct(self, x):
        return self.other(self.block(self.block(x)))


class Attention(nn.Cell):
    """Two products between activations, which no parameter's shape tells of."""

    def construct(self, x):
        return ops.matmul(ops.matmul(x, x.swapaxes(1, 2)), x)

    def own_macs(self, inputs, output):
        batch, tokens, width = inputs[0]
        return 2 * batch * tokens * tokens * width


class Scale(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.factor = Parameter(Tensor(np.ones(8, np.float32)), name="factor")

    def construct(self, x):
        return x * self.factor


def by_name(cell, shape, dtype=ms.float32):
    return {layer.name: layer for layer in count(cell, shape, dtype)}


def conv_macs(out_channels, in_channels, groups, kernel, height, width):
    return out_channels * (in_channels // groups) * kernel**2 * height * width


def test_convolutions_match_the_closed_form():
    rows = by_name(Convs(), (16, 4, 16, 16))
    assert list(rows) == ["plain", "dilated", "grouped", "norm", "up", "head"]
    assert rows["plain"].macs == conv_macs(6, 4, 1, 3, 8, 8)
    assert rows["plain"].params == 6 * 4 * 9 + 6
    assert rows["dilated"].macs == conv_macs(8, 6, 1, 3, 4, 4)
    assert rows["dilated"].output_shape == (1, 8, 4, 4)
    assert rows["grouped"].macs == conv_macs(8, 8, 4, 3, 4, 4)
    assert (rows["norm"].params, rows["norm"].macs) == (16, 0)  # running statistics left out
    assert rows["up"].macs == 8 * 5 * 9 * 4 * 4  # each input pixel meets the whole kernel
    assert rows["head"].to_dict() == {
        **{"name": "head", "kind": "Dense", "shape": (10, 5)},
        **{"params": 60, "macs": 50, "output_shape": (1, 10), "input_shape": (1, 5)},
    }


def test_resnet50_matches_the_published_counts():
    resnet = pytest.importorskip("ms_eff.models.resnet")
    sums = totals(count(resnet.resnet50(), (1, 3, 224, 224)))
    assert sums == {"params": 25_557_032, "macs": 4_089_184_256}  # torchvision: 4.09 GMACs


def test_tokens_multiply_dense_layers_and_lookups_are_free():
    net = nn.SequentialCell(nn.Embedding(50, 8), nn.Dense(8, 12), nn.LayerNorm((12,)))
    rows = list(by_name(net, (2, 7), ms.int32).values())
    assert [(row.kind, row.params, row.macs) for row in rows] == [
        ("Embedding", 400, 0),
        ("Dense", 108, 7 * 8 * 12),
        ("LayerNorm", 24, 0),
    ]


@pytest.mark.parametrize("transpose_b", [True, False])
def test_mindformers_linear_counts_like_dense(transpose_b):
    layers = pytest.importorskip("mindformers.modules.layers")
    linear = layers.Linear(8, 12, transpose_b=transpose_b, compute_dtype=ms.float32)
    assert totals(count(linear, (2, 7, 8))) == {"params": 108, "macs": 7 * 8 * 12}


def test_shared_and_repeated_layers():
    rows = by_name(Tied(), (1, 8))
    assert (rows["block"].params, rows["block"].macs) == (64, 128)
    assert (rows["other"].params, rows["other"].macs) == (0, 64)
    assert (rows["idle"].macs, rows["idle"].output_shape) == (0, None)


def test_cells_may_tell_of_work_without_weights():
    net = nn.SequentialCell(nn.Dense(8, 8), Attention(), Scale())
    rows = by_name(net, (4, 5, 8))
    assert (rows["1"].params, rows["1"].macs) == (0, 2 * 25 * 8)
    assert (rows["2"].shape, rows["2"].params, rows["2"].macs) == ((8,), 8, 0)


def test_counting_leaves_no_trace():
    net = Convs()
    net.set_train(True)
    net.norm.set_train(False)
    inputs = Tensor(np.ones((1, 4, 16, 16)), ms.float32)
    net(inputs)
    version = ms.common.hook_handle._hook_version()
    modes = [cell.training for _, cell in net.cells_and_names()]
    attributes = [set(cell.__dict__) for _, cell in net.cells_and_names()]
    mean = net.norm.moving_mean.asnumpy().copy()
    compiled = dict(net.phase_cache), len(net.compile_cache)
    count(net, (1, 4, 16, 16))
    assert [cell.training for _, cell in net.cells_and_names()] == modes
    assert [set(cell.__dict__) for _, cell in net.cells_and_names()] == attributes
    assert ms.get_context("mode") == ms.GRAPH_MODE
    np.testing.assert_array_equal(net.norm.moving_mean.asnumpy(), mean)
    net(inputs)
    # a hook registered, even for a moment, would compile every graph of the process again
    assert ms.common.hook_handle._hook_version() == version
    assert (dict(net.phase_cache), len(net.compile_cache)) == compiled


def test_wrong_input_shape_is_one_line():
    with pytest.raises(ConfigError, match="input_shape: Dense does not take") as caught:
        count(nn.Dense(8, 4), (1, 9))
    assert "\n" not in str(caught.value)
    assert "construct" not in nn.Dense(8, 4).__dict__
