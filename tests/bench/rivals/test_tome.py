"""The reference is bipartite matching token by token, and attention, in NumPy."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from ms_eff.bench.counts import count, totals
from ms_eff.bench.modes import execution_mode
from ms_eff.bench.part import WithGradients
from ms_eff.bench.rivals.tome import equal_work, merged_macs, token_counts
from ms_eff.bench.rivals.tome_cells import Matching, MergingBlock, ToMe, ToMeSettings, merge_tokens
from ms_eff.errors import PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.skipvit.core import block_macs
from tests.methods.skipvit.networks import images, lively_vit
from tests.tolerances import FP32, LAYER

Groups = list[list[int]]


def matched(keys: np.ndarray, merged: int) -> list[Groups]:
    """Return, for each image of (B, N, d), which tokens become one: those that stay, then the odd.

    An odd token stands first in its group.
    """
    found = []
    for image in keys:
        unit = [key / np.linalg.norm(key) for key in image]
        odd = range(1, len(unit), 2)
        pairs = []
        for i in range(2, len(unit), 2):  # token 0 is the class token
            best = max(odd, key=lambda j: unit[i] @ unit[j])
            pairs.append((unit[i] @ unit[best], i, best))
        going = {i: j for _, i, j in sorted(pairs, reverse=True)[:merged]}
        staying = [[i] for i in range(0, len(unit), 2) if i not in going]
        found.append(staying + [[j, *(i for i in going if going[i] == j)] for j in odd])
    return found


@pytest.mark.parametrize(("tokens", "merged"), [(17, 3), (17, 8), (16, 7), (9, 1)])
def test_the_matching_is_that_of_numpy_token_by_token(tokens: int, merged: int) -> None:
    keys = np.random.default_rng(tokens).standard_normal((5, tokens, 6)).astype(np.float32)
    found = Matching(tokens, merged)(ms.Tensor(keys)).asnumpy()
    expected = np.zeros((5, tokens - merged, tokens))
    for image, groups in enumerate(matched(keys, merged)):
        assert groups[0] == [0]
        for row, group in enumerate(groups):
            expected[image, row, group] = 1
    np.testing.assert_array_equal(found, expected)


@pytest.mark.gate
def test_a_block_is_attention_by_size_then_averages_by_size() -> None:
    network = lively_vit(heads=2)
    block, x = network.blocks[0], network.tokens(ms.Tensor(images()))
    size = np.random.default_rng(3).integers(1, 4, (2, 17, 1)).astype(np.float32)
    q, k, v = block.attn.qkv(block.norm1(x)).asnumpy().reshape(2, 17, 3, 2, 6).swapaxes(0, 2)
    q, k, v = (part.swapaxes(0, 1) for part in (q, k, v))  # (B, N, heads, d)
    scores = np.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(6) + np.log(size).reshape(2, 1, 1, 17)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    y = np.einsum("bhnm,bmhd->bnhd", weights, v).reshape(2, 17, 12)
    x_after = (x + block.attn.proj(ms.Tensor(y.astype(np.float32)))).asnumpy()
    means, sizes = np.zeros((2, 12, 12), np.float32), np.zeros((2, 12, 1), np.float32)
    for image, groups in enumerate(matched(k.mean(2), 5)):
        for row, group in enumerate(groups):
            sizes[image, row] = size[image, group].sum()
            means[image, row] = np.average(x_after[image, group], 0, size[image, group, 0])
    expected = means + block.mlp(block.norm2(ms.Tensor(means))).asnumpy()
    found, found_sizes = MergingBlock(block, 17, 5)(x, ms.Tensor(size))
    np.testing.assert_array_equal(found_sizes.asnumpy(), sizes)
    np.testing.assert_allclose(found.asnumpy(), expected, rtol=FP32, atol=FP32)


@pytest.mark.gate
def test_merging_tokens_that_are_the_same_changes_nothing() -> None:
    network = lively_vit()
    one, two = network.blocks[0], network.blocks[1]
    rows = np.random.default_rng(5).standard_normal((2, 3, 12)).astype(np.float32)
    x = ms.Tensor(rows[:, [0, 1, 1, 2, 2]])
    expected = two(one(x)).asnumpy()[:, [0, 1, 3]]
    merged, size = MergingBlock(one, 5, 2)(x, ms.Tensor(np.ones((2, 5, 1), np.float32)))
    found, size = MergingBlock(two, 3, 0)(merged, size)
    np.testing.assert_array_equal(size.asnumpy(), [[[1], [2], [2]]] * 2)
    np.testing.assert_allclose(found.asnumpy(), expected, rtol=FP32, atol=LAYER)


@pytest.mark.gate
def test_a_network_keeps_its_weights_and_its_work_is_the_one_that_is_planned() -> None:
    network = lively_vit()
    changed = merge_tokens(network, 3)
    before = {p.name: p.asnumpy() for p in network.get_parameters()}
    after = {p.name: p.asnumpy() for p in changed.get_parameters()}
    assert list(before) == list(after)
    assert all((before[name] == after[name]).all() for name in before)
    dense, fewer = (totals(count(net, (1, 3, 16, 16)))["macs"] for net in (network, changed))
    assert token_counts(17, 4, 3) == [17, 14, 11, 8, 5]
    assert dense - fewer == 4 * block_macs(17, 12) - merged_macs(17, 4, 3, 12)
    method = ToMe(ToMeSettings(merged=3))
    method.change_model(network, ModelContext((1, 3, 16, 16)))
    assert method.report == {"merged": 3, "ideal_gain": pytest.approx(dense / fewer - 1)}
    rebuilt = ToMe.rebuild(network, method.plan)
    logits = [net.set_train(False)(ms.Tensor(images())).asnumpy() for net in (changed, rebuilt)]
    np.testing.assert_array_equal(*logits)


def test_the_work_is_as_close_to_skipping_as_any_rate_makes_it() -> None:
    wanted = 3 * block_macs(65, 96) + 3 * block_macs(30, 96)
    gaps = {r: abs(merged_macs(65, 6, r, 96) - wanted) for r in range(1, 33)}
    assert min(gaps, key=gaps.get) == equal_work(64, 6, 96, 3, 0.55)


@pytest.mark.gate
def test_gradients_agree_between_graph_and_pynative() -> None:
    network = merge_tokens(lively_vit(heads=2, depth=2), 3)
    x = ms.Tensor(images())
    graph = WithGradients(network)(x)
    with execution_mode(ms.PYNATIVE_MODE):
        pynative = WithGradients(network)(x)
    for one, other in zip((graph[0], *graph[1]), (pynative[0], *pynative[1]), strict=True):
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-3, atol=1e-3)
    assert all(np.abs(g.asnumpy()).max() > 0 for g in (graph[0], *graph[1]))


def test_a_network_without_a_class_token_is_refused() -> None:
    with pytest.raises(PlanError, match="no vision transformer with a class token"):
        merge_tokens(lively_vit(pool="mean"), 3)
