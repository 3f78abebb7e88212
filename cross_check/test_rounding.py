"""Why one case bounds outputs only: what float32 alone does to torch's own gradients there."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the twins are torch modules")

from cross_check.tolerances import tolerance  # noqa: E402
from cross_check.twins.efficientnet import lite0  # noqa: E402

BOUND = tolerance("float32", "gradients of weights", smooth=False)


def gradients(dtype: torch.dtype, resting: bool, seed: int) -> dict[str, torch.Tensor]:
    """Return the gradients of the case's objective, with weights drawn as ours are."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = lite0(7, resting)
        for weight in network.parameters():
            if weight.ndim == 4:  # He et al.'s by fan-out, of one channel where there are groups
                fan_out = weight[:, 0].numel() if weight.shape[1] > 1 else weight[0].numel()
                weight.data = torch.randn(weight.shape) * (2 / fan_out) ** 0.5
        x, target = torch.randn(4, 3, 32, 32).to(dtype), torch.randn(4, 7).to(dtype)
    outputs = network.to(dtype).train()(x)
    (0.5 * (outputs - target).square().sum() / len(x)).backward()
    return {name: p.grad.double() for name, p in network.named_parameters()}


def worst(resting: bool, seed: int) -> float:
    """Return the largest difference of float32 from float64, measured as `compare` does."""
    found, exact = (gradients(dtype, resting, seed) for dtype in (torch.float32, torch.float64))
    largest = max(float(g.abs().max()) for g in exact.values())
    return max(
        float((found[name] - g).abs().max()) / max(float(g.abs().max()), 1e-3 * largest)
        for name, g in exact.items()
    )


@pytest.mark.slow
@pytest.mark.gate
def test_rounding_moves_efficientnets_gradients_in_training() -> None:
    assert all(worst(False, seed) > 10 * BOUND for seed in range(3))


@pytest.mark.slow
@pytest.mark.gate
def test_where_statistics_rest_only_corners_of_relu6_do() -> None:
    # one value of a hundred thousands may lie where rounding decides on which side of a corner
    assert sum(worst(True, seed) < BOUND for seed in range(3)) >= 2
