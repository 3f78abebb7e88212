"""What was kept, as JSON for results and the report; no MindSpore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ms_eff.methods.swiftlearn import core

if TYPE_CHECKING:
    from ms_eff.methods.base import RunStart

__all__ = ["summary"]

SHOWN, BINS = 8, 24


def summary(run: RunStart, subset: np.ndarray, importance: np.ndarray | None) -> dict[str, Any]:
    """Return the class histogram, the metric's distribution, and the samples at its ends.

    Args:
        run: labels, classes, and how to show a sample.
        subset: indices that the last epoch on a share trained on.
        importance: (N,) movement or loss of each sample, by which it was chosen; None for random
            policies.
    """
    count = len(run.classes)
    found: dict[str, Any] = {
        "samples": len(run.labels),
        "kept": len(subset),
        "classes": list(run.classes),
        "class_counts": np.bincount(run.labels, minlength=count).tolist(),
        "kept_class_counts": np.bincount(run.labels[subset], minlength=count).tolist(),
    }
    if importance is None:
        return found
    shown = min(SHOWN, len(importance))
    counts, edges = np.histogram(importance, BINS)
    kept_counts, _ = np.histogram(importance[subset], edges)
    return found | {
        "metric": {
            "edges": edges.tolist(),
            "counts": counts.tolist(),
            "kept_counts": kept_counts.tolist(),
        },
        "most_important": [_sample(run, int(i), importance) for i in _ordered(importance, shown)],
        "least_important": [_sample(run, int(i), importance) for i in _ordered(-importance, shown)],
    }


def _ordered(values: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the largest values, the largest first."""
    places = core.top(values, count)
    return places[np.argsort(-values[places], kind="stable")]


def _sample(run: RunStart, index: int, importance: np.ndarray) -> dict[str, Any]:
    return {
        "index": index,
        "class": run.classes[run.labels[index]],
        "metric": float(importance[index]),
        **run.show(index),
    }
