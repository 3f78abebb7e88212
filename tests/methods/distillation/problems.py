"""Small students and teachers, of pictures and of text, and runs over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Tensor, nn

from ms_eff import data, models
from ms_eff.data.packed import BlockSplit, LanguageSet
from ms_eff.data.settings import DataSettings
from ms_eff.methods.distillation import Distillation, DistillationSettings
from ms_eff.train import checkpoint
from ms_eff.train.feed import Feed
from tests.data.sentences import write_sst2

BERT = {"dim": 16, "heads": 2, "hidden": 32, "positions": 16, "vocab": 27, "num_classes": 2}
VIT = {
    "image_size": 8, "patch_size": 4, "dim": 16, "heads": 2, "depth": 1, "in_channels": 1,
    "num_classes": 3,
}  # fmt: skip
GPT2 = {"dim": 16, "heads": 2, "positions": 8, "vocab": 30}
ARGS: dict[str, dict[str, Any]] = {"bert": BERT, "vit": VIT, "gpt2": GPT2}
# the first round is of one step, so that a run of twelve steps has three
MATE = {"generator": {"depth": 1, "steps": 1, "student_steps": 5, "warmup_steps": 2, "lr": 1e-3}}


def method(kind: str = "vanilla", seed: int = 0, **settings: Any) -> Distillation:
    return Distillation(DistillationSettings(kind=kind, **settings), seed)


def network(name: str, seed: int = 0, **changes: Any) -> nn.Cell:
    """Return a network whose outputs are far from 0."""
    cell = models.build(name, **{**ARGS[name], **changes}, seed=seed)
    rng = np.random.default_rng(seed)
    for parameter in cell.trainable_params():
        if len(parameter.shape) == 2:
            values = rng.standard_normal(parameter.shape) / np.sqrt(parameter.shape[1])
            parameter.set_data(Tensor(values.astype(np.float32)))
    return cell


def saved(folder: Path, name: str, **changes: Any) -> Path:
    """Write a teacher's checkpoint."""
    cell = network(name, **changes)
    args = {**ARGS[name], **changes}
    args.pop("seed", None)
    described = {"model": {"name": name, "args": args}, "plans": []}
    return checkpoint.save(folder, {p.name: p.asnumpy() for p in cell.get_parameters()}, described)


def text_feed(folder: Path, **changes: Any) -> Feed:
    """Return batches of sentences, all of one length: one compilation."""
    if not (folder / "train.tsv").exists():
        write_sst2(folder, train=46)
    block = {"root": folder, "tokenizer": folder / "tokenizer.json", "test_file": "dev.tsv"}
    block |= {"batch_size": 8, "drop_last": False, "buckets": (16,), **changes}
    settings = DataSettings(name="text", **block)
    return Feed(data.build(settings), settings, 0)


def language_feed() -> Feed:
    """Return blocks of a text in which each token but few says what comes next."""
    rng = np.random.default_rng(0)
    ids = np.cumsum(rng.choice([1, 2], 300, p=[0.9, 0.1])) % 30
    splits = (BlockSplit(ids.astype(np.int32), 8, shifted=True), BlockSplit(ids[:80], 8))
    found = LanguageSet("language", *splits, (), (), 30)
    return Feed(found, DataSettings(name="digits", batch_size=6), 0)
