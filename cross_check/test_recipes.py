"""Every recipe against a loop written by hand in torch, and whether all that trains is in one."""

from __future__ import annotations

import copy
import dataclasses
import typing
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest

from cross_check.bundle import Record
from cross_check.recipe import TRAIN, Recipe
from cross_check.recipes import RECIPES
from ms_eff.methods.registry import METHODS, settings_class
from ms_eff.section import Section
from ms_eff.train.settings import TrainSettings

pytest.importorskip("torch", reason="the twins are torch loops: pip install -e '.[cross-check]'")

RUNS = [
    pytest.param(
        recipe,
        mode,
        marks=() if mode in recipe.quick else pytest.mark.slow,
        id=f"{recipe.name}-{mode}",
    )
    for recipe in RECIPES
    for mode in ("graph", "pynative")
]
PLAIN = next(recipe for recipe in RECIPES if recipe.name == "momentum")

# settings of training that no recipe sets, and why
_LEFT_OUT = {
    "time_budget": "the clock decides what is computed",
    "sink": "the CPU has no data queue",
    "sink_size": "the CPU has no data queue",
    "sync_batch_norm": "needs several workers: tests/train/test_sync_norm.py",
    **dict.fromkeys(("save_every_steps", "keep", "log_every", "tensorboard"), "changes no number"),
}
# levels of precision: O0 and O2 are there, `auto` is one of them by device, and O3 keeps norms in
# float16, which no bound holds for; a dynamic scale is a power of two as a fixed one is
_UNTRAINED = {"precision": {"auto", "O3"}, "loss_scale": {"dynamic"}}
# loops that train as the plain one does, on what a method has made or chosen
_AS_PLAIN = {
    *("plain:train", "progressive:train"),
    *("swiftlearn:moved", "swiftlearn:random"),
}
# settings of a method that a loop must be told apart by
_OTHERWISE: dict[str, tuple[dict[str, Any], ...]] = {
    "SAM": ({"rho": 0.21},),
    "SAM, every second step": ({"every": 1},),
    "ASAM": ({"adaptive": False},),
    "gradient centralisation, all": ({"layers": "conv"},),
    "gradient centralisation, ViT": ({"layers": "conv"},),
    "patch whitening, 3x3": ({"eps": 0.011},),
    "SAM with gradient centralisation": (
        {"sam": {"rho": 0.21}},
        {"gradient_centralization": {"layers": "all"}},
    ),
    "whitening, freezing, resizing": (
        {"progressive_freezing": {"layers": {"conv1": 0.5}}},
        {"progressive_resizing": {"side": 7}},
        {"patch_whitening": {"eps": 0.011}},
    ),
    "meta-learning, first order": ({"inner_steps": 1}, {"inner_lr": 0.21}),
    "meta-learning, second order": ({"order": "first"},),
    "progressive freezing": ({"layers": {"conv1": 0.5}},),
    "vanilla distillation": ({"temperature": 2.1}, {"weights": (0.5, 0.51, 0.0)}),
    "DistilGPT2's three terms": ({"weights": (2.0, 5.0, 0.9)},),
    "annealing": ({"max_temperature": 6}, {"first_share": 0.5}),
    "RAIL, layer by layer": ({"weights": (1 / 3, 1 / 3, 0.3)},),
    "MATE": ({"weights": (1 / 3, 1 / 3, 0.3)}, {"mask": 0.3}),
    "TF-reg": ({"certainty": 0.85},),
    "sequential freezing": ({"freeze": {"kind": "sequential", "period": 1, "start": "inner"}},),
    "skipped blocks": ({"drop": 0.5}, {"score_block": 1}),
    "SwiftLearn, measured again": ({"reevaluate_every": None},),
    "progressive, w1_only": ({"step": "joint"},),
}
_CELL = "another cell in the same training: see cases.py"
_PLAN = "which blocks stay, before training: tests/methods/truncation"
_RANKS = "which factors there are, before training: see cases.py"
# words of methods' settings that no recipe says, and why
_UNSAID: dict[tuple[str, str], dict[str, str]] = {
    ("gqkva", "kind"): dict.fromkeys(("mha", "gqa", "mkva"), _CELL),
    ("skipvit", "preset"): {"paper_like": "other numbers of blocks"},
    ("skipvit", "inference"): {"routed": "the default where scores are attention"},
    ("spatiotemporal", "variant"): dict.fromkeys(
        ("conv3d", "cat", "r2plus1d", "p3d_a", "p3d_b", "p3d_c", "rank1", "tsm", "spatial"), _CELL
    ),
    ("truncation", "rule"): dict.fromkeys(("uniform", "bottom", "top", "random"), _PLAN),
    ("lowrank", "layers"): {"embedding": _CELL},
    ("lowrank", "criterion"): dict.fromkeys(("activation", "two_sided"), _RANKS),
}


@pytest.mark.parametrize(("recipe", "mode"), RUNS)
def test_torch_trains_alike(recipe: Recipe, mode: str) -> None:
    from cross_check.compare import table
    from cross_check.retrain import retrain
    from cross_check.training import run

    if recipe.host in ("", "bert", "gpt2"):
        pytest.importorskip("transformers")
    record = run(recipe, mode)
    rows = retrain(record)
    wanted = {"learning rates", "loss curve", "first update of weights", "movement of weights"}
    assert wanted <= {row.quantity for row in rows}
    assert all(row.passed for row in rows), "\n" + table(rows)
    for other in _others(record):  # the method is seen, not lost within the tolerances
        assert not all(row.passed for row in retrain(other))


def _others(record: Record) -> Iterator[Record]:
    """Give a record to loops that do something else: nothing of the method, or not quite it."""
    methods = [name for name in record.args["methods"] if name != "teacher"]
    if record.twin.removeprefix("recipes.") not in _AS_PLAIN and methods != ["patch_whitening"]:
        yield dataclasses.replace(record, twin="recipes.plain:train")
    for changes in _OTHERWISE.get(record.case, ()):
        wishes = copy.deepcopy(record.args["methods"])
        for name, own in changes.items() if len(methods) > 1 else [(methods[0], changes)]:
            wishes[name] |= own
        yield dataclasses.replace(record, args={**record.args, "methods": wishes})


@pytest.fixture(scope="module")
def record() -> Any:
    from cross_check.training import run

    return run(PLAIN, "pynative")


@pytest.mark.parametrize(
    ("array", "quantity"),
    [
        ("losses", "loss curve"),
        ("rates", "learning rates"),
        ("first/conv1.weight", "first update of weights"),
        ("after/fc.bias", "movement of weights"),
        ("evaluation", "evaluation"),
    ],
)
def test_one_wrong_number_fails(record: Any, array: str, quantity: str) -> None:
    from cross_check.retrain import retrain

    changed = record.arrays[array].copy()
    largest = np.unravel_index(np.abs(changed).argmax(), changed.shape)
    changed[largest] *= 1.002
    doctored = dataclasses.replace(record, arrays=record.arrays | {array: changed})
    assert [row.quantity for row in retrain(doctored) if not row.passed] == [quantity]


@pytest.mark.parametrize(
    "change",
    [
        {"momentum": 0.91},
        {"weight_decay": 0.02},
        {"label_smoothing": 0.01},
        {"warmup_epochs": 0.2},
        {"decay_norm_and_bias": True},
        {"nesterov": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_loop_with_another_setting_is_told_apart(record: Any, change: dict[str, Any]) -> None:
    from cross_check.retrain import retrain

    args = {**record.args, "train": {**record.args["train"], **change}}
    assert not all(row.passed for row in retrain(dataclasses.replace(record, args=args)))


def test_it_goes_into_a_file_and_back(record: Any, tmp_path: Any) -> None:
    from cross_check.bundle import Bundle, read, write
    from cross_check.record import origin
    from cross_check.retrain import is_recipe, retrain

    write(tmp_path / "b.npz", Bundle(origin(), [record]))
    (back,) = read(tmp_path / "b.npz").records
    assert is_recipe(back)
    assert retrain(back) == retrain(record)


def test_every_method_is_in_a_recipe() -> None:
    named = {name for recipe in RECIPES for name in recipe.methods}
    assert named == {*METHODS, "progressive"}


def test_every_word_of_every_method_is_said() -> None:
    for method in METHODS:
        for key, words in _words(settings_class(method)):
            default = settings_class(method).model_fields[key].default
            values = [r.methods[method].get(key, default) for r in RECIPES if method in r.methods]
            said = {word for v in values for word in (v if isinstance(v, tuple) else (v,))}
            left_out = _UNSAID.get((method, key), {}).keys()
            assert words - said == left_out, f"{method}.{key}"


def test_every_setting_of_training_is_in_a_recipe() -> None:
    settings = [{**TRAIN, **recipe.train} for recipe in RECIPES]
    given = {key for wishes in settings for key in wishes}
    assert TrainSettings.model_fields.keys() - given == _LEFT_OUT.keys()
    for key, words in _words(TrainSettings):
        default = TrainSettings.model_fields[key].default
        said = {wishes.get(key, default) for wishes in settings}
        assert words - said == _UNTRAINED.get(key, set()), key


def _words(settings: type[Section]) -> list[tuple[str, set[str]]]:
    """Return the keys whose values are words, and these."""
    found = []
    for key, field in settings.model_fields.items():
        options = (field.annotation, *typing.get_args(field.annotation))
        words = {
            word
            for option in options
            if typing.get_origin(option) is Literal
            for word in typing.get_args(option)
            if isinstance(word, str)
        }
        if words:
            found.append((key, words))
    return found
