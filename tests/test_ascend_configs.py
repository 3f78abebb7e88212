"""Every config for Ascend: its settings, and the same config at a size that a CPU trains at once.

Nothing of what the config says about methods, optimiser, schedule and precision is changed, but for
the device, its queue, and what needs files that are not here; networks, images and data shrink.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ms_eff.config import Config, load_any
from ms_eff.experiment import Experiment
from ms_eff.methods.registry import METHODS
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.parallel import check_shape
from tests.data.sentences import write_sst2, write_texts

CONFIGS = Path(__file__).parents[1] / "configs"
ASCEND = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.glob("*/*.yaml")
    if "ascend" in path.stem or path.stem.endswith("fp16")
)
RUNS = [name for name in ASCEND if not name.startswith("progressive")]

_IMAGES = {"name": "synthetic", "train_size": 16, "test_size": 8, "num_classes": 3}
_IMAGES |= {"global_batch_size": 16, "eval_batch_size": 8, "channels": 3, "augment": "none"}
_VIT = {"name": "vit", "image_size": 16, "patch_size": 4, "dim": 12, "depth": 12, "heads": 6}
_RESNET9 = {"width": 4}

SMALL: dict[str, dict[str, Any]] = {
    "distillation/bert_base_sst2_ascend.yaml": {
        "model": {"name": "bert", "dim": 16, "depth": 12, "heads": 2, "hidden": 32},
        "data": {"buckets": [16], "global_batch_size": 16, "eval_batch_size": 20},
    },
    "gpt2/gpt2_small_wikitext103_ascend.yaml": {
        "model": {"name": "gpt2", "dim": 16, "depth": 12, "heads": 2},
        "data": {"block": 16, "global_batch_size": 16, "eval_batch_size": 8},
    },
    "gqkva/vit_small_imagenet_ascend.yaml": {
        "model": _VIT | {"depth": 2},
        "data": _IMAGES | {"image_size": 16},
    },
    "skipvit/vit_small_imagenet_ascend.yaml": {
        "model": _VIT,  # as deep as the network: the method names blocks
        "data": _IMAGES | {"image_size": 16},
    },
    "lowrank/resnet50_imagenet_ascend.yaml": {
        "model": {"name": "resnet18", "width": 16, "stem": "cifar"},
        "data": _IMAGES | {"image_size": 8},
        "methods.lowrank.rank_search": None,  # by a board's profile
        "methods.lowrank.divisor": 4,  # no layer here has ranks of 16
    },
    "small_data/resnet9_cifar10_5k_best_fp16.yaml": {
        "model": _RESNET9,
        "data": _IMAGES | {"image_size": 32, "batch_size": 16},
    },
    "small_data/resnet9_cifar10_5k_meta_ascend.yaml": {
        "model": _RESNET9,
        "data": _IMAGES | {"image_size": 32},
    },
    "small_data/resnet9_cifar10_5k_stages_ascend.yaml": {
        "model": _RESNET9,
        "data": _IMAGES | {"image_size": 32},
    },
    "swiftlearn/bert_base_sst2_ascend.yaml": {
        "model": {"name": "bert", "dim": 16, "depth": 1, "heads": 2, "hidden": 32},
        "data": {"buckets": [16], "global_batch_size": 16, "eval_batch_size": 20},
        "methods.swiftlearn.keep": 0.5,  # of 32 samples
        "train": {"epochs": 3},  # two of them of warm-up
    },
    "video/eco_lite_ucf101_ascend.yaml": {
        "model": {"name": "eco_lite_small", "width": 4},
        "data": {"name": "motion_digits", "image_size": 16, "frames": 8, "train_limit": 16}
        | {"test_limit": 8, "global_batch_size": 16, "eval_batch_size": 8},
    },
}
QUICK = ("gqkva/vit_small_imagenet_ascend.yaml",)


def loaded(name: str) -> Any:
    """Return a config as a user loads it, who says where the data are."""
    return load_any(CONFIGS / name, ["data.root=there"] if name in RUNS else [])


def test_every_method_has_a_config_for_ascend():
    found = {
        name
        for path in ASCEND
        for entry in loaded(path).methods
        for name in entry  # a family's entries are mappings too
    }
    assert found == {*METHODS, "progressive"}


@pytest.mark.parametrize("name", RUNS)
def test_it_says_device_batch_precision_scale_and_queue(name):
    config = loaded(name)
    assert config.device.target == "ascend"
    assert name in SMALL
    assert (config.train.precision, config.train.loss_scale) == ("O2", "dynamic")
    if config.train.sink:
        assert config.train.sink_size is not None
    else:  # the host has to see each step, for the clock, SwiftLearn or MATE-KD
        watching = ("swiftlearn", "distillation")
        assert config.train.time_budget is not None or name.startswith(watching)


def small(name: str, output: Path, files: Path) -> Config:
    """Return the config at the size of a test."""
    raw = loaded(name).model_dump(mode="json", exclude_unset=True)
    changes = SMALL[name]
    for key, value in changes.items():
        if key == "train":
            continue  # below, over what holds for all
        if key in ("model", "data"):
            keeps = key == "model" and "name" not in value
            keeps = keeps or (key == "data" and "name" not in value)
            raw[key] = {**(raw[key] if keeps else {}), **value}
        else:
            _, method, *rest = key.split(".")
            block = next(entry[method] for entry in raw["methods"] if method in entry)
            for part in rest[:-1]:
                block = block[part]
            block[rest[-1]] = value
    raw["model"].pop("weights", None)
    if raw["data"].get("name") == "text":
        raw["data"] |= {"root": str(files), "tokenizer": str(files / "tokenizer.json")}
        raw["data"] |= {"text_column": 0, "label_column": 1}
    if raw["data"].get("name") == "language":
        raw["data"] |= {"root": str(files), "tokenizer": str(files / "tokenizer.json")}
        raw["data"] |= {"train_files": ["a.txt"], "test_files": ["b.txt"]}
    raw["train"] |= {"epochs": 1, "warmup_epochs": 0, "sink": False, "sink_size": None}
    raw["train"] |= {"time_budget": None, "flat_epochs": 0, **changes.get("train", {})}
    if "pretrain" in raw:
        raw["pretrain"] |= {"epochs": 1, "warmup_epochs": 0}
    device = {**raw["device"], "target": "cpu", "bind": "none", "cache": None}
    return Config(**{**raw, "device": device, "output": str(output)})


@pytest.mark.gate
@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in RUNS]
)
def test_it_trains_at_a_small_size(tmp_path, name):
    if "bert" in name:
        pytest.importorskip("tokenizers")
        write_sst2(tmp_path, train=32)
    if "gpt2" in name:
        pytest.importorskip("tokenizers")
        write_texts(tmp_path)
    config = small(name, tmp_path / "run", tmp_path)
    config.output.mkdir()  # as the command line does, which locks it
    experiment = Experiment(config, "test", Console(file=io.StringIO()))
    results = experiment.train()
    *_, stage = results.stages.values()
    assert stage["curve"][-1]["step"] >= 1
    asked = [method for entry in config.methods for method in entry]
    assert [method.name for method in experiment.methods] == asked


def test_the_family_of_llama_2_fits_its_mesh():
    config = loaded("progressive/llama2_7b_ascend.yaml")
    assert config.parallel.devices == 8
    check_shape(config.parallel, LlamaShape(32_000, 4096, 32, 32, 32, 11_008))
