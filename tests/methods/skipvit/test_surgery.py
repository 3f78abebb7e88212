from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

import ms_eff
from ms_eff import models
from ms_eff.bench.modes import execution_mode
from ms_eff.deploy.export import export
from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.gqkva import convert_attention
from ms_eff.methods.skipvit import SkipViTSettings, apply_skipvit, kept_patches, rebuild
from ms_eff.methods.skipvit.surgery import without_skipping
from tests.methods.skipvit.networks import SIZES, images, lively_vit, routed_vit
from tests.tolerances import FP32, LAYER


@pytest.fixture(scope="module")
def network() -> nn.Cell:
    return lively_vit()


@pytest.fixture(scope="module")
def routed(network) -> nn.Cell:
    return routed_vit(network)[0]


@pytest.mark.gate
def test_logits_equal_a_twin_that_takes_the_blocks_one_by_one(network, routed) -> None:
    # in NumPy but for the blocks themselves: every choice is made here anew
    x = network.tokens(ms.Tensor(images()))
    block = network.blocks[0]
    normed = block.norm1(x)
    qkv = block.attn.qkv(normed).asnumpy().reshape(2, 17, 3, 6, 2)
    scores = np.einsum("bhd,bmhd->bhm", qkv[:, 0, 0], qkv[:, :, 1]) / np.sqrt(2)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    order = np.argsort(-weights[:, :, 1:].mean(1), axis=1)
    kept, dropped = np.sort(order[:, :7], 1) + 1, np.sort(order[:, 7:], 1) + 1
    y = block(x).asnumpy()
    whole = y.copy()
    for image in range(2):
        few = np.concatenate([[0], kept[image]])
        part = ms.Tensor(y[image : image + 1, few])
        for middle in network.blocks[1], network.blocks[2]:
            part = middle(part)
        whole[image, few] = part.asnumpy()[0]
        # what skips is copied, bit for bit
        np.testing.assert_array_equal(whole[image, dropped[image]], y[image, dropped[image]])
    expected = network.head(network.pooled(network.blocks[3](ms.Tensor(whole))))
    found = routed.set_train(False)(ms.Tensor(images())).asnumpy()
    np.testing.assert_allclose(found, expected.asnumpy(), rtol=FP32, atol=FP32)
    np.testing.assert_array_equal(kept_patches(routed, images()), kept - 1)


class _Halves(nn.Cell):
    def __init__(self, blocks: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.blocks = blocks

    def construct(self, x: ms.Tensor):
        y, order = self.blocks.scored(x)
        few, rest = self.blocks.split(y, order)
        return y, order, few, rest, self.blocks.merged(few, rest, order)


@pytest.mark.gate
@pytest.mark.parametrize("portable", [False, True])
def test_split_is_a_partition_and_merging_restores_it_bit_for_bit(routed, portable) -> None:
    routed.blocks.portable = portable
    tokens = ms.Tensor(np.random.default_rng(3).standard_normal((2, 17, 12), dtype=np.float32))
    y, order, few, rest, merged = (t.asnumpy() for t in _Halves(routed.blocks)(tokens))
    routed.blocks.portable = False
    assert few.shape == (2, 8, 12)
    assert rest.shape == (2, 9, 12)
    for image in range(2):
        assert order[image, 0] == 0  # the class token stays
        assert sorted(order[image]) == list(range(17))
        np.testing.assert_array_equal(few[image], y[image, order[image, :8]])
        np.testing.assert_array_equal(rest[image], y[image, order[image, 8:]])
    np.testing.assert_array_equal(merged, y)


@pytest.mark.gate
@pytest.mark.parametrize("settings", [{"drop": 0.0}, {"inference": "dense"}])
def test_nothing_dropped_is_the_plain_network(network, settings) -> None:
    same, _ = routed_vit(network, **settings)
    x = ms.Tensor(images())
    expected = network.set_train(False)(x).asnumpy()
    np.testing.assert_allclose(same.set_train(False)(x).asnumpy(), expected, atol=LAYER)


@pytest.mark.gate
def test_warm_up_view_shares_the_weights_and_drops_nothing(network, routed) -> None:
    dense = without_skipping(routed, routed)
    pairs = zip(dense.get_parameters(), routed.get_parameters(), strict=True)
    assert all(one is other for one, other in pairs)
    assert routed.blocks.routing
    x = ms.Tensor(images())
    found, expected = dense(x).asnumpy(), network.set_train(True)(x).asnumpy()
    np.testing.assert_allclose(found, expected, atol=LAYER)
    assert np.abs(routed.set_train(True)(x).asnumpy() - expected).max() > 0.01


class _Touch(nn.Cell):
    """Patch embeddings to the sum of the logits' squares."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, tokens: ms.Tensor) -> ms.Tensor:
        logits = self.network.head(self.network.pooled(self.network.blocks(tokens)))
        return ops.reduce_sum(ops.square(logits))


@pytest.mark.gate
@pytest.mark.parametrize("merge_block", [3, 4])
def test_dropped_patches_reach_the_head_only_if_they_are_merged_before_the_end(merge_block) -> None:
    # all blocks before the split score only: block 0 mixes every token, so it is silenced
    network, route = routed_vit(merge_block=merge_block)
    first = network.blocks[0]
    for layer in (first.attn.proj, first.mlp.fc2):
        layer.weight.set_data(ms.Tensor(np.zeros(layer.weight.shape, np.float32)))
    tokens = network.tokens(ms.Tensor(images()))
    gradient = ms.grad(_Touch(network).set_train(False))(tokens).asnumpy()
    kept = kept_patches(network, images())
    for image in range(2):
        dropped = np.setdiff1d(np.arange(route.patches), kept[image]) + 1
        sizes = np.abs(gradient[image, dropped]).max(1)
        assert (sizes > 1e-6).all() if merge_block == 3 else (sizes == 0).all()


@pytest.mark.gate
@pytest.mark.parametrize(
    ("kind", "groups"),
    [("mqa", None), ("gqa", 3), ("mkva", None), ("gkva", 2), ("gqkva", (2, 3))],
)
def test_composes_with_grouped_attention_in_either_order(network, kind, groups) -> None:
    first, _ = routed_vit(convert_attention(network, kind, groups)[0])
    second, _, _ = convert_attention(routed_vit(network)[0], kind, groups)
    x = ms.Tensor(images())
    with execution_mode(ms.PYNATIVE_MODE):  # ten graphs otherwise
        found = [n.set_train(False)(x).asnumpy() for n in (first, second)]
    np.testing.assert_array_equal(*found)
    names = [[p.name for p in n.get_parameters()] for n in (first, second)]
    assert names[0] == names[1] == [p.name for p in network.get_parameters()]


@pytest.mark.gate
@pytest.mark.parametrize("format", ["mindir", "onnx"])
def test_exported_file_gives_the_same_logits(routed, format, tmp_path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    done = export(routed, tmp_path / f"n.{format}", (2, 3, 16, 16), dynamic_batch=True)
    assert done.difference.within(LAYER)
    assert not routed.blocks.portable


@pytest.mark.gate
def test_random_scores_differ_by_step_and_come_back_with_the_counter() -> None:
    network, _ = routed_vit(score="random")
    again = rebuild(lively_vit(), routed_vit(score="random")[1])
    assert [p.name for p in network.trainable_params()] == [
        p.name for p in lively_vit().trainable_params()
    ]
    x = ms.Tensor(images())
    first, second = (network.set_train(True)(x).asnumpy() for _ in range(2))
    assert int(network.blocks.random.drawn) == 4
    assert np.abs(first - second).max() > 1e-3
    again.blocks.random.drawn.set_data(ms.Tensor(2, ms.int32))
    np.testing.assert_array_equal(again.set_train(True)(x).asnumpy(), second)


def test_what_cannot_be_routed_is_named(network, routed) -> None:
    with pytest.raises(PlanError, match="Dense is no vision transformer"):
        apply_skipvit(nn.Dense(2, 2))
    with pytest.raises(PlanError, match="class token"):
        apply_skipvit(models.build("vit", **SIZES, pool="mean"))
    with pytest.raises(PlanError, match="merge_block: 11 is beyond the network's 4 blocks"):
        ms_eff.apply_skipvit(network)
    with pytest.raises(PlanError, match="tokens skip in this network already"):
        routed_vit(routed)
    with pytest.raises(PlanError, match="9 of 16 patches skip, but an image has 4"):
        rebuild(lively_vit(image_size=8), routed_vit(network)[1])
    with pytest.raises(PlanError, match="at least one must stay"):
        apply_skipvit(network, SkipViTSettings(drop=0.99, score_block=0, merge_block=3))
    with pytest.raises(ConfigError, match="attention decides"):
        kept_patches(network, images())
