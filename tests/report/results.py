"""Made-up results of the recorded form; their values are told apart by eye."""

from __future__ import annotations

from typing import Any

__all__ = ["full"]


def _latency(median: float, speedup: float) -> dict[str, Any]:
    return {
        "median_ms": median,
        "p10_ms": 0.9 * median,
        "p90_ms": 1.2 * median,
        "runs": 20,
        "batch": 8,
        "speedup": {"median": speedup, "p10": speedup, "p90": speedup},
    }


def _stage(accuracy: float, params: int, median: float, speedup: float) -> dict[str, Any]:
    gap = {"tolerance": 1e-4, "file": "net"}
    return {
        "accuracy": accuracy,
        "loss": 0.0512,
        "params": params,
        "macs": 50 * params,
        "latency": {
            "forward": _latency(median, speedup),
            "train_step": _latency(3 * median, speedup),
        },
        "export": {
            "mindir": {"max_abs_difference": 0.0, **gap},
            "onnx": {"max_abs_difference": 3.1e-7, **gap},
        },
        "curve": [
            {"epoch": epoch, "seconds": 2.0 * epoch, "train_loss": 1 / epoch, "accuracy": accuracy}
            for epoch in (1, 2, 3)
        ],
    }


def full() -> dict[str, Any]:
    layer = {
        "layer": "layer1.0.conv1",
        "kind": "Conv2d",
        "shape": [64, 32, 3, 3],
        "rank": [17, 19],
        "params_before": 18432,
        "params_after": 4321,
        "macs_before": 1179648,
        "macs_after": 276544,
        "error": 0.1357,
        "decomposed": True,
        "reason": "",
    }
    skipped = {
        "layer": "fc<b>",
        "kind": "Dense",
        "shape": [10, 64],
        "rank": None,
        "params_before": 650,
        "params_after": 650,
        "macs_before": 640,
        "macs_after": 640,
        "error": 0.0,
        "decomposed": False,
        "reason": "would not shrink",
    }
    return {
        "environment": {
            "device": "A CPU & co",
            "versions": {"mindspore": "2.9.0"},
            "date": "2026-01-02T03:04:05+00:00",
            "seed": 7,
        },
        "config": {"model": {"name": "resnet18", "args": {"width": 16}}, "betas": [0.9, 0.999]},
        "stages": {
            "dense": _stage(0.9861, 698442, 5.98, 1.0),
            "decomposed": _stage(0.7417, 341222, 4.31, 1.39),
            "fine-tuned": _stage(0.9833, 341222, 4.29, 1.38),
        },
        "methods": {"lowrank": {"layers": [layer, skipped]}},
    }
