"""The table of the methods: the smallest settings, network and data of each, and sensible pairs.

`test_every_method` puts every row through the same duties.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ms_eff.config import Config
from ms_eff.methods.registry import METHODS

__all__ = ["ALONE", "PAIRS", "REFUSED", "TEACHER", "Case", "config_of"]

# stands for the folder of a trained network in settings; the tests put it there
TEACHER = "TEACHER"

_IMAGES = {"name": "synthetic", "train_size": 48, "test_size": 16, "num_classes": 3}
_IMAGES |= {"batch_size": 8, "eval_batch_size": 8, "channels": 3}
_FLAT = {**_IMAGES, "image_size": 8, "augment": "crop_flip"}
_SQUARE = {**_IMAGES, "image_size": 16, "augment": "crop_alternate"}
_CLIPS = {"name": "motion_digits", "image_size": 8, "frames": 4, "train_limit": 48}
_CLIPS |= {"test_limit": 16, "batch_size": 8, "eval_batch_size": 8}

_VIT = {"name": "vit", "patch_size": 4, "dim": 12, "depth": 2, "heads": 6}
# network -> (model, data)
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vit": (_VIT, _FLAT),
    "deep_vit": (_VIT | {"depth": 3}, _FLAT),
    "resnet9": ({"name": "resnet9", "width": 4}, _SQUARE),
    "clips": ({"name": "eco_lite_small", "width": 4}, _CLIPS),
}


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        network: a key of `NETWORKS`.
        methods: name -> settings, in the order of a config.
        onnx: whether the network can be exported to ONNX.
        epochs: of its run, of six steps each.
    """

    network: str
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    onnx: bool = True
    epochs: int = 2

    @property
    def name(self) -> str:
        """What a test is called by."""
        return "+".join(self.methods)

    @property
    def has_plan(self) -> bool:
        """Whether the network is another one afterwards."""
        return not CHANGE_THE_MODEL.isdisjoint(self.methods)


_SETTINGS: dict[str, dict[str, Any]] = {
    "distillation": {"kind": "vanilla", "teacher": TEACHER},
    "gqkva": {"kind": "gkva", "groups": 3},
    "skipvit": {"score_block": 0, "merge_block": 2, "warmup": 0.5},
    "spatiotemporal": {"variant": "add"},
    "truncation": {"keep": 1, "rule": "bottom"},
    "swiftlearn": {"keep": 0.5, "policy": "random_fresh", "warmup_epochs": 1},
    "lowrank": {"ratio": 2.0},
    "sam": {"every": 2},
    "gradient_centralization": {"layers": "all"},
    "patch_whitening": {"patch": 2, "both_signs": True},
    "meta_learning": {},
    "ghost_batch_norm": {"splits": 2},
    "progressive_freezing": {"layers": {"blocks.0": 0.5}},
    "progressive_resizing": {"side": 8, "until": 0.5},
}
_INFOBATCH = {"keep": 0.5, "policy": "infobatch", "warmup_epochs": 1, "anneal_epochs": 0}
CHANGE_THE_MODEL = frozenset({
    *("gqkva", "skipvit", "spatiotemporal", "truncation", "lowrank"),
    *("patch_whitening", "ghost_batch_norm"),
})  # fmt: skip
_OF_RESNET9 = ("patch_whitening", "ghost_batch_norm", "progressive_resizing")


def _case(network: str, *names: str, epochs: int = 2, **changes: dict[str, Any]) -> Case:
    settings = {name: changes.get(name, _SETTINGS[name]) for name in names}
    return Case(network, settings, epochs=epochs)


def _alone(name: str) -> Case:
    if name == "spatiotemporal":
        return _case("clips", name)
    return _case("resnet9" if name in _OF_RESNET9 else "vit", name)


ALONE: dict[str, Case] = {name: _alone(name) for name in METHODS}

PAIRS: tuple[Case, ...] = (
    # two that change the model
    _case("vit", "gqkva", "lowrank"),
    _case("vit", "skipvit", "gqkva"),
    _case("deep_vit", "truncation", "skipvit", truncation={"keep": 2, "rule": "bottom"}),
    _case("resnet9", "patch_whitening", "ghost_batch_norm"),
    # the model, and what trains it
    _case("vit", "distillation", "truncation"),
    _case("vit", "lowrank", "sam", lowrank={"ratio": 2.0, "freeze": "sequential"}),
    _case("resnet9", "ghost_batch_norm", "progressive_resizing"),
    _case("clips", "spatiotemporal", "gradient_centralization"),
    # the data, and what trains on them
    _case("vit", "swiftlearn", "distillation", epochs=3, swiftlearn={"keep": 0.5}),
    _case("vit", "swiftlearn", "progressive_freezing", swiftlearn=_INFOBATCH),
    _case("vit", "skipvit", "swiftlearn", swiftlearn=_INFOBATCH),
    _case("vit", "sam", "gradient_centralization"),
)

REFUSED: tuple[Case, ...] = (
    _case("vit", "sam", "meta_learning"),
    _case("vit", "distillation", "swiftlearn", swiftlearn=_INFOBATCH),
    _case("vit", "swiftlearn", "meta_learning", swiftlearn=_INFOBATCH),
    _case("vit", "distillation", "meta_learning", distillation={"kind": "mate"}),
)


def config_of(case: Case, output: Path, teacher: Path, **train: Any) -> Config:
    """Return the config of a run of six steps an epoch, fewer on a share of the samples.

    Args:
        case: the row.
        output: of the run.
        teacher: folder of the network that stands for `TEACHER`.
        **train: further keys of the training, and `seed`, `device`.
    """
    model, data = NETWORKS[case.network]
    methods = tuple(
        {name: {k: str(teacher) if v == TEACHER else v for k, v in settings.items()}}
        for name, settings in case.methods.items()
    )
    whole = {key: train.pop(key) for key in ("seed", "device") if key in train}
    return Config(
        output=output,
        model=model,
        data=data,
        train={
            **{"epochs": case.epochs, "eval_every": case.epochs, "lr": 0.02},
            **{"save_every_steps": 2, "keep": 9, **train},
        },
        methods=methods,
        export={"formats": ("mindir", "onnx") if case.onnx else ("mindir",)},
        **whole,
    )
