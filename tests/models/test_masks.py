"""Stacks as in BERT and GPT over grouped attention, held to torch's own attention."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from ms_eff.methods.gqkva import convert_attention, rebuild
from ms_eff.models.attention import Attention
from ms_eff.models.heads import head_layout
from ms_eff.models.masks import causal_mask, key_mask
from ms_eff.train.precision import mixed_precision
from tests.tolerances import LAYER

B, N, DIM, HEADS = 2, 6, 24, 6
KINDS = [
    ("mha", None), ("gqa", 3), ("mqa", None), ("mkva", None), ("gkva", 2), ("gqkva", (2, 3))
]  # fmt: skip
KEEP = np.array([[1] * N, [1, 1, 1, 1, 0, 0]], np.int32)


class _Layer(nn.Cell):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.self_attention = Attention(np.random.default_rng(seed), DIM, HEADS)

    def construct(self, x: ms.Tensor, mask: ms.Tensor) -> ms.Tensor:
        return x + self.self_attention(x, mask)


class _Stack(nn.Cell):
    """Two layers of a cell that is none of ours; `causal` as in GPT, otherwise as in BERT."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.layers = nn.CellList([_Layer(0), _Layer(1)])

    def construct(self, x: ms.Tensor, keep: ms.Tensor) -> ms.Tensor:
        mask = key_mask(keep)
        if self.causal:
            mask = mask + causal_mask(x.shape[1])
        for layer in self.layers:
            x = layer(x, mask)
        return x


def _torch(stack: nn.Cell, layout, x: np.ndarray, causal: bool) -> np.ndarray:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    seen = torch.tensor(KEEP, dtype=torch.bool)[:, None, None, :]
    if causal:
        seen = seen & torch.ones(N, N, dtype=torch.bool).tril()
    y = torch.tensor(x)
    for layer in stack.layers:
        weights = [torch.tensor(p.asnumpy()) for p in layer.self_attention.get_parameters()]
        parts = functional.linear(y, *weights[:2]).view(B, N, -1, DIM // HEADS).transpose(1, 2)
        q, k, v = parts.split([layout.queries, layout.keys, layout.keys], dim=1)
        q, k, v = q[:, layout.q_index], k[:, layout.kv_index], v[:, layout.kv_index]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        mixed = mixed.transpose(1, 2).reshape(B, N, DIM)
        y = y + functional.linear(mixed, *weights[2:])
    return y.numpy()


@pytest.fixture(scope="module")
def lively() -> dict[bool, nn.Cell]:
    """A BERT-like and a GPT-like stack with scores that are far from equal."""
    rng = np.random.default_rng(5)
    stacks = {causal: _Stack(causal) for causal in (False, True)}
    for stack in stacks.values():
        for parameter in stack.get_parameters():
            values = 0.4 * rng.standard_normal(parameter.shape).astype(np.float32)
            parameter.set_data(ms.Tensor(values))
    return stacks


@pytest.mark.gate
@pytest.mark.parametrize("causal", [False, True], ids=["bert", "gpt"])
@pytest.mark.parametrize(("kind", "groups"), KINDS)
def test_converted_stack_equals_torch(lively, causal, kind, groups) -> None:
    stack, plan, report = convert_attention(lively[causal], kind, groups)
    assert [row.cell for row in report] == [f"layers.{n}.self_attention" for n in range(2)]
    x = np.random.default_rng(6).standard_normal((B, N, DIM), dtype=np.float32)
    expected = _torch(stack, head_layout(kind, HEADS, groups), x, causal)
    found = stack(ms.Tensor(x), ms.Tensor(KEEP)).asnumpy()
    bound = LAYER * max(1.0, float(np.abs(expected).max()))
    # what padding itself becomes is nobody's business
    real = KEEP.astype(bool)
    np.testing.assert_allclose(found[real], expected[real], rtol=LAYER, atol=bound)
    names = [parameter.name for parameter in rebuild(lively[causal], plan).get_parameters()]
    assert names == [parameter.name for parameter in stack.get_parameters()]


@pytest.mark.parametrize("level", ["O0", "O3"])
def test_a_row_that_sees_nothing_is_finite(level) -> None:
    cell = mixed_precision(Attention(np.random.default_rng(0), DIM, HEADS), level)
    x = ms.Tensor(np.ones((1, N, DIM), np.float32))
    hidden = key_mask(ms.Tensor(np.zeros((1, N), np.int32))) + causal_mask(N)
    assert np.isfinite(cell(x, hidden).asnumpy()).all()
