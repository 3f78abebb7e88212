"""Why one case bounds outputs only: what float32 alone does to torch's own gradients there."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the twins are torch modules")

from cross_check.tolerances import tolerance  # noqa: E402
from cross_check.twins.efficientnet import lite0  # noqa: E402

Arrays = dict[str, "torch.Tensor"]


def _computed(dtype: torch.dtype, resting: bool) -> tuple[torch.Tensor, Arrays]:
    """Return outputs in training and gradients of the case's objective, weights as ours begin."""
    generator = torch.Generator().manual_seed(0)
    network = lite0(7, resting)
    for weight in network.parameters():
        if weight.ndim == 4:  # He et al.'s by fan-out, of one channel where there are groups
            fan_out = weight[:, 0].numel() if weight.shape[1] > 1 else weight[0].numel()
            values = torch.randn(weight.shape, generator=generator)
            weight.data = values * (2 / fan_out) ** 0.5
    x = torch.randn((4, 3, 32, 32), generator=generator).to(dtype)
    target = torch.randn((4, 7), generator=generator).to(dtype)
    outputs = network.to(dtype).train()(x)
    (0.5 * (outputs - target).square().sum() / len(x)).backward()
    gradients = {name: p.grad.double() for name, p in network.named_parameters()}
    return outputs.detach().double(), gradients


def _difference(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize("resting", [False, True])
def test_rounding_moves_the_gradients_unless_statistics_rest(resting: bool) -> None:
    (outputs, gradients), (exact, exact_gradients) = (
        _computed(dtype, resting) for dtype in (torch.float32, torch.float64)
    )
    bound = tolerance("float32", "gradients of weights", smooth=False)
    worst = max(_difference(gradients[name], g) for name, g in exact_gradients.items())
    assert _difference(outputs, exact) < 1e-3
    assert (worst > bound) == (not resting)
