"""What models and texts are known by."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ms_eff.errors import CheckpointError
from ms_eff.methods.progressive import identity
from ms_eff.methods.progressive.identity import file_digest, ids_digest, json_digest, model_digest


class OnDisk:
    """A model by its path."""

    def __init__(self, path: Path) -> None:
        self.path = path


def write(folder: Path, **arrays: np.ndarray) -> OnDisk:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    save_file(arrays, folder / "model.safetensors")
    return OnDisk(folder)


def test_a_fine_tuned_copy_is_another_model_and_a_moved_one_is_not(tmp_path: Path) -> None:
    weight = np.arange(12, dtype=np.float32)
    parent = write(tmp_path / "parent", weight=weight)
    before = model_digest(parent)
    moved = OnDisk(Path(shutil.copytree(tmp_path / "parent", tmp_path / "moved")))
    assert model_digest(moved) == before
    tuned = weight.copy()
    tuned[5] += 1e-3
    assert model_digest(write(tmp_path / "tuned", weight=tuned)) != before
    (tmp_path / "moved" / "config.json").write_text('{"model_type": "mistral"}')
    assert model_digest(moved) != before
    (tmp_path / "parent" / "samples.txt").write_text("what else lies there tells nothing")
    assert model_digest(parent) == before


def test_a_large_file_is_known_by_its_size_and_pieces_all_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_LOOK", 64)
    monkeypatch.setattr(identity, "_PIECES", 8)
    path, content = tmp_path / "large", bytearray(1000)
    path.write_bytes(content)
    before = file_digest(path)
    path.write_bytes(content + b"\0")
    assert file_digest(path) != before
    for place in (0, 999):
        changed = content.copy()
        changed[place] = 1
        path.write_bytes(changed)
        assert file_digest(path) != before
    # a change of any eighth of it
    for start in range(0, 1000, 125):
        changed = content.copy()
        changed[start : start + 140] = b"\1" * len(changed[start : start + 140])
        path.write_bytes(changed)
        assert file_digest(path) != before
    with pytest.raises(CheckpointError, match="cannot be read"):
        file_digest(tmp_path / "none")


def test_token_ids_are_known_whatever_their_type(tmp_path: Path) -> None:
    ids = np.array([3, 1, 4, 1, 5], np.int64)
    assert ids_digest(ids) == ids_digest(ids.astype(np.int32)[::1])
    assert ids_digest(ids) != ids_digest(ids[::-1])
    assert json_digest({"a": 1, "b": [2]}) == json_digest({"b": [2], "a": 1})
