"""The recipes, one a row: a network, how it is trained, and its torch twins. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cross_check.recipe import TEACHER, Recipe

__all__ = ["RECIPES"]

_ADAMW = {"optimizer": "adamw", "lr": 0.01, "eps": 1e-4}
_GC = "gradient_centralization"
_SECOND = {"order": "second", "inner_lr": 0.1}
_FROZEN = {"conv1": 0.5, "bn1": 0.5}


def _plain(name: str, quick: bool = False, **train: Any) -> Recipe:
    return Recipe(name, "plain:train", train=train, quick=("graph",) if quick else ())


_PLAIN = (
    _plain("SGD", optimizer="sgd"),
    _plain("momentum", quick=True, schedule="cosine", warmup_epochs=0.4),
    _plain("Nesterov", nesterov=True, momentum=0.8),
    _plain("AdamW", optimizer="adamw", lr=0.01, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-6),
    _plain("decay of norms and biases", weight_decay=0.1, decay_norm_and_bias=True),
    _plain("linear schedule", schedule="linear", warmup_epochs=0.6, final_lr_ratio=0.2),
    _plain("step schedule", schedule="step", milestones=(0.25, 0.7), gamma=0.3),
    _plain("peak schedule", schedule="peak", peak_at=0.3, flat_epochs=0.6, final_lr_ratio=0.1),
    _plain("label smoothing", label_smoothing=0.2),
    _plain("clipped gradients", clip_norm=0.3),
    _plain("clipped gradients, AdamW", optimizer="adamw", lr=0.01, clip_norm=0.05, eps=1e-4),
    _plain("averaged weights", ema=0.9, mirror_test=True),
    _plain("averaged weights, every third step", ema=0.9, ema_every=3),
    _plain("rate of biases", bias_lr_ratio=4.0, decay_norm_and_bias=True, weight_decay=0.05),
    Recipe("recomputed blocks", "plain:train", "vit", train={"recompute": True}),
    Recipe(
        "float16, loss scale",
        "plain:train",
        "vit",
        train={"precision": "O2", "loss_scale": 256.0},
    ),
)


def _small(name: str, method: str, quick: bool = False, **wishes: Any) -> Recipe:
    loop = "meta" if method == "meta_learning" else "train"
    modes = ("graph",) if quick else ()
    return Recipe(name, f"small_data:{loop}", methods={method: wishes}, quick=modes)


_SMALL_DATA = (
    _small("SAM", "sam", rho=0.2),
    _small("SAM, every second step", "sam", rho=0.2, every=2),
    _small("ASAM", "sam", quick=True, rho=1.0, adaptive=True),
    _small("gradient centralisation, convolutions", _GC, layers="conv"),
    _small("gradient centralisation, all", _GC, layers="all"),
    Recipe(
        "gradient centralisation, AdamW",
        "small_data:train",
        methods={_GC: {"layers": "all"}},
        train=_ADAMW,
    ),
    Recipe("gradient centralisation, ViT", "small_data:train", "vit", {_GC: {"layers": "all"}}),
    _small("patch whitening, 3x3", "patch_whitening"),
    _small("patch whitening, both signs", "patch_whitening", patch=2, both_signs=True),
    Recipe("ghost batch normalisation", "plain:train", methods={"ghost_batch_norm": {"splits": 2}}),
    _small("meta-learning, first order", "meta_learning", inner_lr=0.2, inner_steps=2),
    _small("meta-learning, second order", "meta_learning", **_SECOND),
    _small("meta-learning, two inner steps", "meta_learning", **_SECOND, inner_steps=2),
    _small("progressive freezing", "progressive_freezing", layers=_FROZEN),
    _small("progressive resizing", "progressive_resizing", side=6, until=0.5),
    # several at once, as in configs/small_data
    Recipe(
        "SAM with gradient centralisation",
        "small_data:train",
        methods={"sam": {"rho": 0.2}, _GC: {"layers": "conv"}},
    ),
    Recipe(
        "whitening, freezing, resizing",
        "small_data:train",
        methods={
            "patch_whitening": {"patch": 2, "both_signs": True},
            "progressive_freezing": {"layers": _FROZEN},
            "progressive_resizing": {"side": 6, "until": 0.5},
        },
        train={
            **{"ema": 0.9, "ema_every": 3, "mirror_test": True, "label_smoothing": 0.2},
            **{"bias_lr_ratio": 4.0, "decay_norm_and_bias": True},
        },
    ),
)


def _distilled(name: str, twin: str, kind: str, host: str = "vit", **more: Any) -> Recipe:
    wishes = {"kind": kind, "teacher": TEACHER, **more.pop("wishes", {})}
    if host == "bert":
        more["zero"] = ("*.self.key.bias",)
    return Recipe(name, f"distillation:{twin}", host, {"distillation": wishes}, **more)


def _softened(name: str, kind: str, **wishes: Any) -> Recipe:
    methods = {"distillation": {"kind": kind, **wishes}}
    return Recipe(name, "distillation:smoothed", methods=methods)


# a warm-up, and two rounds in ten steps
_PLAYER = {"lr": 0.01, "steps": 2, "student_steps": 5, "depth": 1}
_PLAYER |= {"warmup_steps": 3, "warmup_lr": 0.01}
_RAIL = {"width": 5, "temperature": 3.0}
_DISTILLATION = (
    _distilled("vanilla distillation", "taught", "vanilla", teacher={"depth": 3}, quick=("graph",)),
    _distilled(
        "vanilla distillation, hidden states",
        "taught",
        "vanilla",
        "bert",
        wishes={"weights": (0.2, 0.5, 0.3)},
        teacher={"depth": 3},
    ),
    _distilled(
        "DistilGPT2's three terms",
        "taught",
        "vanilla",
        "gpt2",
        wishes={"weights": (2.0, 5.0, 1.0)},
        teacher={"depth": 3},
        train={"lr": 0.01},
    ),
    _distilled("self-distillation", "taught", "self", wishes={"temperature": 4.0}),
    _distilled(
        "annealing",
        "annealed",
        "annealing",
        wishes={"max_temperature": 7},
        teacher={"depth": 3},
        train={"epochs": 5, "eval_every": 1},
        batch=20,
    ),
    _distilled(
        "RAIL, layer by layer", "layers", "rail", "bert", wishes=_RAIL, teacher={"depth": 5}
    ),
    _distilled(
        "RAIL, concatenated",
        "layers",
        "rail",
        "bert",
        wishes={**_RAIL, "form": "concatenated"},
        teacher={"depth": 3, "dim": 18},
    ),
    replace(
        _distilled(
            "MATE",
            "train",
            "mate",
            "bert",
            wishes={"generator": _PLAYER, "mask": 0.4},
            teacher={"depth": 3},
        ),
        twin="mate:train",
    ),
    _softened("softened labels", "label_smoothing", alpha=0.3),
    _softened("TF-reg", "tf_reg", alpha=0.4, certainty=0.8),
)


def _frozen(name: str, freeze: Mapping[str, Any], quick: bool = False) -> Recipe:
    modes = ("graph",) if quick else ()
    methods = {"lowrank": {"ratio": 2.0, "freeze": freeze}}
    return Recipe(f"{name} freezing", "lowrank:frozen", methods=methods, quick=modes)


# networks with ReLUs: large steps let rounding decide on which side of a corner values are, and
# statistics over few samples magnify it
_CALM = {"epochs": 5, "lr": 0.002}


def _merged(name: str, batch: int, **more: Any) -> Recipe:
    biases = ("*.conv1.bias", "*.conv3.bias") if more.get("merge_bias", True) else ()
    branches = {"branches": more["branches"]} if "branches" in more else {}
    return Recipe(
        name,
        "plain:train",
        "resnet",
        {"lowrank": {"merge": 0.5, **more}},
        _CALM,
        network_args={**branches, "bias": more.get("merge_bias", True)},
        batch=batch,
        zero=biases,
    )


def _shared(name: str, kind: str, groups: Any, **index: list[int]) -> Recipe:
    methods = {"gqkva": {"kind": kind, "groups": groups}}
    return Recipe(name, "plain:train", "vit", methods, args={"heads": 6}, network_args=index)


def _skipping(name: str, **wishes: Any) -> Recipe:
    methods = {"skipvit": {"score_block": 0, "warmup": 0.5, **wishes}}
    args = {"patch_size": 2, "depth": 3}
    return Recipe(name, "skipvit:train", "vit", methods, args=args)


def _chosen(name: str, twin: str, quick: bool = False, **wishes: Any) -> Recipe:
    methods = {"swiftlearn": {"keep": 0.25, **wishes}}
    modes = ("graph",) if quick else ()
    train = {"epochs": 4}
    return Recipe(name, f"swiftlearn:{twin}", methods=methods, train=train, batch=10, quick=modes)


_COMPRESSION = (
    _frozen("static", {"kind": "static"}),
    _frozen("static inner", {"kind": "static", "start": "inner"}),
    _frozen("sequential", {"kind": "sequential"}, quick=True),
    Recipe(
        "sequential freezing, ViT",
        "lowrank:frozen",
        "vit",
        {"lowrank": {"ratio": 1.5, "freeze": {"kind": "sequential", "start": "inner"}}},
        # each weight's own steps correct its moments: a set may begin later than another
        {"optimizer": "adamw", "lr": 0.003, "eps": 1e-4},
        network="lowrank:vit",
    ),
    Recipe(
        "branched Tucker",
        "plain:train",
        methods={"lowrank": {"ratio": 2.0, "branches": 2}},
        network_args={"branches": 2},
    ),
    _merged("merged bottlenecks", 20),
    # of 20 images one value lies so near a ReLU's corner that rounding decides its side at once
    _merged("merged bottlenecks, two branches, no biases", 16, branches=2, merge_bias=False),
    _shared("GKVA-3", "gkva", 3, q_index=[0, 0, 1, 1, 2, 2]),
    _shared("MQA", "mqa", None, kv_index=[0] * 6),
    _shared("GQKVA-2.3", "gqkva", (2, 3), q_index=[0, 0, 0, 1, 1, 1], kv_index=[0, 1, 2, 0, 1, 2]),
    _skipping("skipped blocks", merge_block=2),
    _skipping("skipped blocks, random scores", merge_block=2, score="random"),
    _skipping("dropped tokens, dense inference", merge_block=3, inference="dense"),
    Recipe(
        "2D for 3D, aligned",
        "plain:train",
        "clips",
        {"spatiotemporal": {"variant": "add", "aligned": True}},
        _CALM,
        network_args={"variant": "add", "aligned": True},
        batch=20,
    ),
    Recipe(
        "truncated GPT-2",
        "plain:train",
        "gpt2",
        {"truncation": {"keep": 2}},
        args={"depth": 4},
        network="gpt2:truncated_hf_gpt2",
    ),
    _chosen("SwiftLearn", "moved", quick=True),
    _chosen("SwiftLearn, measured again", "moved", reevaluate_every=1),
    _chosen("SwiftLearn, drawn", "random", selection="sample"),
    _chosen("random subset", "random", policy="random_fixed"),
    _chosen("random subsets", "random", policy="random_fresh"),
    *(
        Recipe(
            f"progressive, {step}",
            "progressive:train",
            "",
            {"progressive": {"step": step}},
        )
        for step in ("w1_only", "joint")
    ),
    _chosen("InfoBatch", "infobatch", policy="infobatch", keep=0.5),
)

RECIPES: tuple[Recipe, ...] = (*_PLAIN, *_SMALL_DATA, *_DISTILLATION, *_COMPRESSION)
