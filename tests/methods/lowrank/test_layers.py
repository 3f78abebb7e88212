from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff.bench.counts import count, totals
from ms_eff.methods.lowrank.layers import find_layers, network_params, read_weight
from ms_eff.methods.lowrank.surgery import apply_lowrank
from tests.methods.lowrank.networks import Everything, Tied


def test_every_layer_is_found_once_with_its_shape() -> None:
    found = {layer.name: layer for layer in find_layers(Everything())}
    assert {name: (layer.kind, layer.shape) for name, layer in found.items()} == {
        "conv1": ("conv", (16, 8, 3, 3)),
        "blocks.0": ("conv1x1", (24, 16, 1, 1)),
        "downsample.0": ("conv1x1", (24, 24, 1, 1)),
        "branches.0": ("conv", (24, 24, 3, 3)),
        "branches.1": ("conv", (24, 6, 3, 3)),
        "tied": ("dense", (24, 24)),
        "fc": ("dense", (10, 24)),
    }
    assert [n for n, layer in found.items() if layer.reason] == ["branches.1"]
    assert found["branches.1"].reason == "it has 4 groups; only ungrouped ones are decomposed"


def test_shared_weights_are_left_alone() -> None:
    reasons = {layer.name: layer.reason for layer in find_layers(Tied())}
    assert reasons == {
        "words": "its weight is shared with 'head'",
        "mix": "",
        "head": "its weight is shared with 'words'",
    }


def test_layers_without_an_adapter_are_named() -> None:
    network = nn.SequentialCell(nn.Conv1d(4, 4, 3), nn.Conv3d(4, 4, 3), nn.Dense(4, 4))
    assert [layer.reason for layer in find_layers(network)] == [
        "no adapter for Conv1d",
        "no adapter for Conv3d",
        "",
    ]


def test_attention_that_reads_its_weight_keeps_it() -> None:
    found = {layer.name: layer.reason for layer in find_layers(nn.MultiheadAttention(16, 2))}
    assert found["out_proj"] == "nn.MultiheadAttention reads its weight without calling it"


def test_a_subclass_with_its_own_forward_is_no_plain_layer() -> None:
    class Scaled(nn.Dense):
        def construct(self, x: ms.Tensor) -> ms.Tensor:
            return 2 * super().construct(x)

    (layer,) = find_layers(Scaled(4, 4))
    assert layer.reason == "no adapter for Scaled"


def test_decomposed_layers_are_not_decomposed_again() -> None:
    compressed, _, _ = apply_lowrank(nn.SequentialCell(nn.Dense(32, 32), nn.ReLU()), ratio=2)
    assert [(x.name, x.reason) for x in find_layers(compressed)] == [
        ("0", "it is decomposed already")
    ]


def test_weights_are_read_in_float64_whatever_their_type() -> None:
    for dtype in (ms.float32, ms.float16, ms.bfloat16):
        table = ms.Tensor(np.arange(12).reshape(3, 4), dtype)
        (layer,) = find_layers(nn.Dense(4, 3, weight_init=table, dtype=dtype))
        weight = read_weight(layer)
        assert weight.dtype == np.float64
        np.testing.assert_array_equal(weight, np.arange(12).reshape(3, 4))


def test_parameters_are_counted_as_the_bench_counts_them() -> None:
    network = Everything()
    assert network_params(network) == totals(count(network, (1, 8, 12, 12)))["params"]
    assert network_params(Tied()) == 30 * 16 + 16 * 16 + 16
