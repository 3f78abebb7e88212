"""An imported model beside `transformers`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ms_eff.bench import logits_parity
from ms_eff.models.parents import FolderModel, open_parent
from tests.methods.progressive.conftest import gpt2_parent, parent

__all__ = ["gpt2_parent", "parent"]  # the fixtures


@pytest.mark.gate
@pytest.mark.parametrize("which", ["parent", "gpt2_parent"])
def test_what_was_saved_by_transformers_is_within_the_limits(
    which: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    folder = request.getfixturevalue(which)
    output = tmp_path / "results" / "parity.json"
    call = ["--parent", str(folder), "--text", str(folder / "text.txt"), "--output", str(output)]
    assert logits_parity.main([*call, "--tokens", "80", "--window", "16"]) == 0
    found = json.loads(output.read_text())
    assert found["met"] is True
    assert found["predictions"] == 5 * 15
    assert found["logits"]["max_abs"] < 1e-4 < found["logits"]["scale"]
    assert "met" in capsys.readouterr().out
    # the model as transformers itself reads it, not by our names
    words = (folder / "text.txt").read_text().split()[:80]
    rows = torch.tensor([int(word[1:]) for word in words]).reshape(5, 16)
    with torch.no_grad():
        model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        logits = model(rows[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
    assert found["perplexity"]["transformers"] == pytest.approx(float(loss.exp()), rel=1e-5)


@pytest.mark.gate
def test_a_matrix_read_otherwise_is_noticed(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    model, original = open_parent(parent), FolderModel.array
    twin = logits_parity.twin_of(model)
    monkeypatch.setattr(logits_parity, "twin_of", lambda _: twin)

    def rolled(self: FolderModel, name: str) -> np.ndarray:
        array = original(self, name)
        return np.roll(array, 1, 0) if name.endswith("q_proj.weight") else array

    monkeypatch.setattr(FolderModel, "array", rolled)
    rows = np.random.default_rng(0).integers(0, 64, (2, 12)).astype(np.int32)
    assert logits_parity.compare(model, rows)["met"] is False


def test_what_is_not_there_is_a_mistake_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--parent", str(tmp_path / "none"), "--text", "none.txt"]
    assert logits_parity.main([*call, "--output", str(tmp_path / "rows.json")]) == 2
    assert "no model here" in capsys.readouterr().err


@pytest.mark.gate
def test_the_rotary_frequencies_of_older_files_are_left_out(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    names = FolderModel.names
    old = "model.layers.0.self_attn.rotary_emb.inv_freq"
    monkeypatch.setattr(FolderModel, "names", lambda self: [*names(self), old])
    assert logits_parity.twin_of(open_parent(parent)) is not None


def test_weights_of_another_model_are_one_line(
    parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    pytest.importorskip("transformers")
    names = FolderModel.names
    monkeypatch.setattr(FolderModel, "names", lambda self: names(self)[1:])
    call = ["--parent", str(parent), "--text", str(parent / "text.txt"), "--window", "16"]
    assert logits_parity.main([*call, "--output", str(tmp_path / "rows.json")]) == 1
    assert "transformers misses" in capsys.readouterr().err
