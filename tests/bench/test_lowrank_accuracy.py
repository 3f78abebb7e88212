from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ms_eff.bench import accuracy_sizes, lowrank_accuracy
from ms_eff.bench.accuracy_sizes import KIND, VARIANTS, Case, cases, make_size
from ms_eff.bench.lowrank_accuracy import main, run
from ms_eff.bench.rows import Rows, read_rows
from ms_eff.errors import ConfigError, SetupError
from ms_eff.train.interrupt import Interrupted

TINY = make_size(
    "quick",
    models={"resnet18": 4},
    train_images=128,
    test_images=100,
    batch_size=32,
    pretrain_epochs=1,
)
DIGITS = {"name": "digits"}


def choose(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    few = {name: VARIANTS[name] for name in names}
    monkeypatch.setattr(accuracy_sizes, "VARIANTS", few)


def fake(case: Case, *_: Any) -> dict[str, Any]:
    return {"model": case.model, "seed": case.seed, "variant": case.variant, "note": "fake"}


@pytest.mark.gate
def test_variants_start_from_the_same_dense_weights_and_rows_are_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ms_eff
    from ms_eff.train import checkpoint

    output = tmp_path / "rows.json"
    choose(monkeypatch, "dense", "continued")
    before = run(TINY, DIGITS, tmp_path / "work", output, "first")
    choose(monkeypatch, "dense", "continued", "vanilla", "merging")
    rows = run(TINY, DIGITS, tmp_path / "work", output, "second")
    saved = json.loads(output.read_text())
    assert saved["rows"] == rows
    assert rows[:2] == before  # to the very seconds: nothing was measured twice
    assert [row["call"] for row in rows] == [0, 0, 1, 1]
    assert [call["command"] for call in saved["calls"]] == ["first", "second"]

    assert len({row["start"] for row in rows}) == 1
    folder = tmp_path / "work" / "resnet18" / "seed0"
    dense = checkpoint.rebuild(folder / "dense" / "models" / "dense")
    expected = ms_eff.apply_lowrank(dense, ratio=2.0)[0]
    found = checkpoint.read(folder / "vanilla" / "models" / "decomposed").weights
    for parameter in expected.get_parameters():
        np.testing.assert_array_equal(found[parameter.name], parameter.asnumpy(), parameter.name)

    trained, continued, vanilla, merging = rows
    assert (trained["epochs"], trained["accuracy_before"]) == (1, None)
    assert continued["accuracy_before"] == trained["accuracy"]
    assert continued["params"] == trained["params"] > vanilla["params"]
    assert (continued["decomposed"], vanilla["decomposed"]) == (0, 17)
    assert continued["epochs"] == vanilla["epochs"] == 2
    assert 0 < vanilla["seconds"] < vanilla["wall_seconds"]
    assert vanilla["test_images"] == 100
    assert merging["accuracy"] is merging["params"] is merging["seconds"] is None
    assert "basic block" in merging["note"]


@pytest.mark.gate
def test_a_stop_leaves_the_finished_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(case: Case, *rest: Any) -> dict[str, Any]:
        if case.variant == "vanilla":
            raise Interrupted(signal.SIGINT, tmp_path / "step")
        return fake(case)

    output, words = tmp_path / "rows.json", ["--size", "quick", "--data", "digits"]
    words += ["--output", str(output), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(lowrank_accuracy, "measure", stopped)
    assert main(words) == 130
    assert [row["variant"] for row in json.loads(output.read_text())["rows"]] == [
        "dense",
        "continued",
    ]
    monkeypatch.setattr(lowrank_accuracy, "measure", fake)
    assert main(words) == 0
    saved = json.loads(output.read_text())
    assert [row["variant"] for row in saved["rows"]] == [*VARIANTS] * 2
    assert str(tmp_path) not in json.dumps(saved)


@pytest.mark.gate
def test_seeds_and_models_may_be_added_but_nothing_else_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lowrank_accuracy, "measure", fake)
    output = tmp_path / "new" / "rows.json"
    run(TINY, DIGITS, tmp_path, output)
    more = TINY.model_copy(update={"seeds": (7,), "models": {"resnet50": 2}})
    rows = run(more, DIGITS, tmp_path, output)
    assert {(row["model"], row["seed"]) for row in rows} == {("resnet18", 0), ("resnet50", 7)}
    settings = read_rows(output, KIND)["settings"]
    assert settings["models"] == {"resnet18": 4, "resnet50": 2}
    assert settings["seeds"] == [0, 7]
    for changes, named in (
        ({"models": {"resnet18": 8}}, "models.resnet18: 4 -> 8"),
        ({"train_images": 64}, "train_images: 128 -> 64"),
    ):
        with pytest.raises(ConfigError, match=named):
            run(TINY.model_copy(update=changes), DIGITS, tmp_path, output)
    assert read_rows(output, KIND)["rows"] == rows


def test_a_users_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "rows.json"
    output.write_text('{"rows": []}')
    words = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--output"]
    assert main([*words, str(output)]) == 2
    assert main([*words, str(tmp_path / "new.json")]) == 2
    assert main([*words, str(output), "--fine-tune-epochs", "3"]) == 2
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if line.startswith("lowrank_accuracy: ")]
    for line, part in zip(said, ("not rows of", "test_batch.bin", "an even number"), strict=True):
        assert part in line


@pytest.mark.gate
def test_an_unwritable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowrank_accuracy, "measure", fake)
    output = tmp_path / "rows.json"
    run(TINY, DIGITS, tmp_path, output)
    content = output.read_bytes()
    rows = Rows(output, KIND, {"data": "digits", **TINY.model_dump(mode="json")})

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(SetupError, match=r"rows\.json.*No space left"):
        rows.add(fake(next(cases(TINY))))
    assert output.read_bytes() == content
