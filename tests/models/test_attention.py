from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import ParameterTuple, nn, ops

from ms_eff.models.attention import Attention, AttentionCore, attention_core
from ms_eff.models.heads import head_layout
from tests.tolerances import LAYER

KINDS = [
    ("mha", None),
    ("mqa", None),
    ("gqa", 3),
    ("mkva", None),
    ("gkva", 3),
    ("gqkva", (2, 3)),
]
B, N, DIM, HEADS = 2, 5, 24, 6


def _arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


class _Gradients(nn.Cell):
    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        weights = ParameterTuple(network.trainable_params())
        self.gradient = ms.value_and_grad(self._scalar, 0, weights, has_aux=True)

    def _scalar(self, x: ms.Tensor, cotangent: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        y = self.network(x)
        return ops.reduce_sum(y * cotangent), y

    def construct(self, x: ms.Tensor, cotangent: ms.Tensor):
        return self.gradient(x, cotangent)


@pytest.mark.parametrize(("kind", "groups"), KINDS)
def test_equals_plain_attention_whose_projections_are_repeated(kind, groups) -> None:
    # with autograd through the copies: a shared projection's gradient is the sum over them
    torch = pytest.importorskip("torch")
    layout = head_layout(kind, HEADS, groups)
    cell = Attention(np.random.default_rng(0), DIM, HEADS, layout)
    width = layout.projections * (DIM // HEADS)
    weight, bias, x, cotangent = _arrays((width, DIM), (width,), (B, N, DIM), (B, N, DIM))
    cell.qkv.weight.set_data(ms.Tensor(weight * 0.3))
    cell.qkv.bias.set_data(ms.Tensor(bias))

    weights = [torch.tensor(p.asnumpy(), requires_grad=True) for p in cell.get_parameters()]
    inputs = torch.tensor(x, requires_grad=True)
    parts = torch.nn.functional.linear(inputs, *weights[:2]).view(B, N, -1, DIM // HEADS)
    q, k, v = parts.split([layout.queries, layout.keys, layout.keys], dim=2)
    q, k, v = q[:, :, layout.q_index], k[:, :, layout.kv_index], v[:, :, layout.kv_index]
    scores = torch.einsum("bnhd,bmhd->bhnm", q, k) / (DIM // HEADS) ** 0.5
    y = torch.einsum("bhnm,bmhd->bnhd", scores.softmax(-1), v).reshape(B, N, DIM)
    y = torch.nn.functional.linear(y, *weights[2:])
    y.backward(torch.tensor(cotangent))

    (_, found), (of_x, of_weights) = _Gradients(cell)(ms.Tensor(x), ms.Tensor(cotangent))
    np.testing.assert_allclose(found.asnumpy(), y.detach().numpy(), rtol=LAYER, atol=LAYER)
    for gradient, expected in zip((of_x, *of_weights), (inputs, *weights), strict=True):
        bound = LAYER * max(1.0, float(expected.grad.abs().max()))
        np.testing.assert_allclose(gradient.asnumpy(), expected.grad.numpy(), rtol=0, atol=bound)


@pytest.mark.parametrize(("kind", "groups"), [("gqa", 2), ("gqkva", (2, 3))])
def test_causal_mask_hides_what_comes_later(kind, groups) -> None:
    layout = head_layout(kind, HEADS, groups)
    core = AttentionCore(layout, 4)
    (qkv,) = _arrays((B, N, layout.projections * 4))
    mask = np.triu(np.full((1, 1, N, N), -1e9, np.float32), 1)
    changed = qkv.copy()
    changed[:, -1] += 1.0
    first, weights = core(ms.Tensor(qkv), ms.Tensor(mask))
    second, _ = core(ms.Tensor(changed), ms.Tensor(mask))
    np.testing.assert_array_equal(first.asnumpy()[:, :-1], second.asnumpy()[:, :-1])
    assert weights.shape == (B, HEADS, N, N)
    np.testing.assert_allclose(weights.asnumpy().sum(-1), 1.0, rtol=LAYER)
    assert (np.triu(weights.asnumpy(), 1) == 0).all()


@pytest.mark.gate
@pytest.mark.parametrize(("kind", "groups"), [("gqa", 3), ("mkva", None), ("gqkva", (2, 3))])
def test_copies_compute_what_broadcasting_does(kind, groups) -> None:
    layout = head_layout(kind, HEADS, groups)
    (qkv,) = _arrays((B, N, layout.projections * 4))
    (cotangent,) = _arrays((B, N, HEADS * 4))
    mask = ms.Tensor(np.triu(np.full((1, 1, N, N), -1e9, np.float32), 1))
    found = []
    for sharing in ("broadcast", "repeat"):
        cell = _Masked(attention_core(layout, 4, sharing), mask)
        (value, y), (gradient, _) = _Gradients(cell)(ms.Tensor(qkv), ms.Tensor(cotangent))
        found.append((value.asnumpy(), y.asnumpy(), gradient.asnumpy()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=LAYER, atol=LAYER)


class _Masked(nn.Cell):
    def __init__(self, core: nn.Cell, mask: ms.Tensor) -> None:
        super().__init__(auto_prefix=False)
        self.core, self.mask = core, mask

    def construct(self, qkv: ms.Tensor) -> ms.Tensor:
        return self.core(qkv, self.mask)[0]
