"""What benches against torch share: the ratio of two times, torch's training step, the words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ms_eff.bench.timers import Comparison

__all__ = ["ratio_row", "told", "torch_step"]


def ratio_row(comparison: Comparison, limit: float | None = None) -> dict[str, Any]:
    """Return both times and `ratio`, ms_eff's over torch's, paired round by round.

    Args:
        comparison: of `ms_eff` and `torch`.
        limit: of the ratio's median; with it, the row says whether it is `met`.
    """
    ratio = comparison.speedup("torch", "ms_eff").to_dict()  # how much faster torch is
    row = {
        "ms_eff": comparison.summary("ms_eff").to_dict(),
        "torch": comparison.summary("torch").to_dict(),
        "ratio": ratio,
    }
    return row if limit is None else {**row, "limit": limit, "met": ratio["median"] <= limit}


def torch_step(
    twin: Any,
    images: np.ndarray,
    labels: np.ndarray,
    logits: Callable[[Any], Any] = lambda outputs: outputs,
    **optimizer: Any,
) -> Callable[[], float]:
    """Return torch's training step: forward, cross entropy, backward, SGD; its loss.

    Args:
        twin: a torch module; put into training mode.
        images: (B, C, H, W).
        labels: (B,).
        logits: takes them out of what the module returns.
        **optimizer: arguments of `torch.optim.SGD`.
    """
    import torch

    twin.train()
    sgd = torch.optim.SGD(twin.parameters(), **optimizer)
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)

    def step() -> float:
        sgd.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits(twin(inputs)), targets)
        loss.backward()
        sgd.step()
        return float(loss.item())

    return step


def told(what: str, row: Mapping[str, Any]) -> str:
    """Return a row in one line."""
    ratio = row["ratio"]
    line = (
        f"{what}: ms_eff {row['ms_eff']['median_ms']:.3g} ms, torch "
        f"{row['torch']['median_ms']:.3g} ms, ratio {ratio['median']:.2f} "
        f"({ratio['p10']:.2f} to {ratio['p90']:.2f})"
    )
    if "limit" not in row:
        return line
    return f"{line}, at most {row['limit']}: {'met' if row['met'] else 'NOT met'}"
