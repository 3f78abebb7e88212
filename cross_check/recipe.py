"""What one recipe says: a network, how it is trained, and its torch twins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["TEACHER", "TRAIN", "Recipe"]

# stands for the folder of a teacher in settings
TEACHER = "TEACHER"
# two epochs of five steps
TRAIN: Mapping[str, Any] = {
    "epochs": 2,
    "lr": 0.05,
    "schedule": "constant",
    "weight_decay": 0.01,
    "precision": "O0",
    "eval_every": 100,
    "save_every": 100,
}


@dataclass(frozen=True)
class Recipe:
    """One row: ten steps of training.

    Attributes:
        name: as it stands in tables and results.
        twin: `module:function` under `cross_check.twins.recipes`: the training loop in torch.
        host: a key of `hosts.HOSTS`: network, data and the network's twin.
        methods: name -> settings, in the order of a config.
        train: settings of the training, on top of `TRAIN`.
        args: of the host's network.
        network: the network's twin, where a method makes it another than the host's.
        network_args: of the twin alone; those that a method decides (ranks) come on top.
        teacher: of the host's network as teacher, where a setting is `TEACHER`.
        batch: samples in a batch.
        zero: patterns of the weights, in the twin's names, whose gradient is zero in exact
            arithmetic (see `cases.py`).
        quick: modes in which the fast tests run it; the others are left to the slow ones.
    """

    name: str
    twin: str
    host: str = "images"
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    args: Mapping[str, Any] = field(default_factory=dict)
    network: str = ""
    network_args: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 8
    zero: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()

    @property
    def dtype(self) -> str:
        """What MindSpore computes in."""
        return "float32" if self.train.get("precision", "O0") == "O0" else "float16"
