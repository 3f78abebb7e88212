"""A tiny parent with a tokenizer, and a text for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ms_eff.methods.progressive.settings import FamilyConfig
from tests.models.gpt2s import save_hf_gpt2
from tests.models.llamas import TINY, save_hf


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model, tokenizer.json and text.txt."""
    pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("parent")
    save_hf(folder, num_hidden_layers=1, initializer_range=0.2)
    _add_text(folder)
    return folder


@pytest.fixture(scope="session")
def gpt2_parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a GPT-2, in shards."""
    pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("gpt2")
    save_hf_gpt2(folder, shards="8KB", n_layer=1, initializer_range=0.2)
    _add_text(folder)
    return folder


def _add_text(folder: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"w{i}": i for i in range(TINY["vocab_size"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = np.random.default_rng(0).zipf(1.5, 600) % TINY["vocab_size"]
    (folder / "text.txt").write_text(" ".join(f"w{i}" for i in ids))


def family_config(
    parent: Path, output: Path, baseline: bool = False, **changes: Any
) -> FamilyConfig:
    """Return a small config; `method` and `recovery` may be given in part."""
    text = {"files": [str(parent / "text.txt")]}
    method = {"ratios": [1.25, 2.0], "rule": "two_sided", "allocation": "global"}
    recovery = {**text, "batch": 2, "block": 8, "lr": 1e-3, "save_every": 2}
    content = {
        "output": str(output),
        "parent": {"path": str(parent)},
        "calibration": {**text, "tokens": 160, "window": 16},
        "evaluation": {**text, "tokens": 160, "window": 16, "baseline": baseline},
        "methods": [{"progressive": method | changes.pop("method", {})}],
        "recovery": recovery | changes.pop("recovery", {}),
    }
    return FamilyConfig(**{**content, **changes})
