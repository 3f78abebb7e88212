"""A small run for tests: synthetic images, a network of two layers."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from mindspore import Tensor, nn
from rich.console import Console

from ms_eff import data
from ms_eff.data.settings import DataSettings
from ms_eff.train.feed import Feed
from ms_eff.train.settings import TrainSettings
from ms_eff.train.trainer import Trainer


def small_net(seed: int = 0) -> nn.Cell:
    rng = np.random.default_rng(seed)
    net = nn.SequentialCell(
        nn.Conv2d(1, 4, 3, pad_mode="pad", padding=1, has_bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dense(4 * 64, 3),
    )
    for p in net.trainable_params():
        if p.name.endswith(("weight", "bias")):  # Dense draws its bias from a global generator
            values = 0.1 * rng.standard_normal(p.shape).astype(np.float32)
            p.set_data(Tensor(values))
    return net


def small_feed(seed: int = 0, **changes: Any) -> Feed:
    block = {"train_size": 48, "test_size": 20, "num_classes": 3, "channels": 1, "image_size": 8}
    block |= {"batch_size": 8, "eval_batch_size": 8, "augment": "crop_flip", **changes}
    settings = DataSettings(name="synthetic", **block)
    return Feed(data.build(settings), settings, seed)


def trainer(folder, net=None, methods=(), feed=None, spent=0.0, **changes: Any) -> Trainer:
    settings = TrainSettings(**{"epochs": 3, "lr": 0.05, "schedule": "cosine", **changes})
    quiet = Console(file=io.StringIO(), width=200)
    return Trainer(
        net or small_net(),
        feed or small_feed(),
        settings,
        folder,
        methods=methods,
        console=quiet,
        spent=spent,
    )


def weights(cell: nn.Cell) -> dict[str, np.ndarray]:
    return {p.name: p.asnumpy().copy() for p in cell.get_parameters()}


def said(run: Trainer) -> str:
    return run.console.file.getvalue()
