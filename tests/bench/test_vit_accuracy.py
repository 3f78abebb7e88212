from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from ms_eff.bench import rivals, vit_accuracy, vit_accuracy_sizes
from ms_eff.bench.accuracy_runs import changed_size
from ms_eff.bench.vit_accuracy import main, run
from ms_eff.bench.vit_accuracy_sizes import SIZES, VARIANTS, Case, Size, cases, make_config
from ms_eff.errors import ConfigError
from ms_eff.train.interrupt import Interrupted

TINY = changed_size(
    SIZES["quick"], {"dim": 12, "train_images": 128, "test_images": 100, "batch_size": 32}
)
DIGITS = {"name": "digits"}
RECORDED = Path(__file__).parents[2] / "results" / "vit_accuracy_cifar10.json"


def fake(case: Case, *_: Any) -> dict[str, Any]:
    return {"seed": case.seed, "variant": case.variant, "accuracy": 0.5, "epoch_seconds": 1.0}


@pytest.mark.parametrize("name", SIZES)
def test_every_variant_drops_in_as_many_blocks(name: str, tmp_path: Path) -> None:
    size = SIZES[name]
    for case in cases(size):
        config = make_config(case, size, DIGITS, tmp_path)
        with rivals.known():
            settings = dict(config.method_settings())
        assert ("tome" in settings) == (case.variant == "ToMe")
        blocks = settings.get("skipvit")
        if blocks is None:
            continue
        score, merge = blocks.blocks
        assert merge - score - 1 == size.reduced
        assert (merge == size.depth) == (case.variant == "plain dropping")


def test_runs_of_a_seed_differ_in_methods_and_folder_only(tmp_path: Path) -> None:
    plain = make_config(Case(0, "dense (MHA)"), TINY, DIGITS, tmp_path / "a").to_dict()
    other = make_config(Case(0, "GKVA-3"), TINY, DIGITS, tmp_path / "b").to_dict()
    assert {key for key in plain if plain[key] != other[key]} == {"methods", "output"}
    assert plain["device"]["isa"] == "native"
    assert len({case.folder for case in cases(SIZES["hour"])}) == 2 * len(VARIANTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"heads": 4}, "heads = 4"), ({"reduced": 2}, "at most 1 of 3"), ({"seeds": ()}, "seeds")],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        changed_size(TINY, changes)


@pytest.mark.slow
def test_rows_hold_what_the_runs_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("dense (MHA)", "random (random-LTD)", "GKVA-3", "ToMe")
    few = {name: VARIANTS[name] for name in names}
    monkeypatch.setattr(vit_accuracy_sizes, "VARIANTS", few)
    output = tmp_path / "rows.json"
    dense, random, grouped, merged = run(TINY, DIGITS, tmp_path / "work", output)
    assert json.loads(output.read_text())["rows"] == [dense, random, grouped, merged]
    assert random["params"] == dense["params"] > grouped["params"]
    assert random["macs"] == dense["macs"] > grouped["macs"]  # random scores: dense inference
    assert random["ideal_gain"] > 0
    assert dense["ideal_gain"] is None
    assert merged["params"] == dense["params"]
    assert merged["ideal_gain"] == pytest.approx(dense["macs"] / merged["macs"] - 1)
    for row in (dense, random, grouped, merged):
        assert (row["train_images"], row["test_images"], row["epochs"]) == (128, 100, 2)
        assert 0 < row["epoch_seconds"] < row["seconds"] < row["wall_seconds"]


@pytest.mark.gate
def test_a_stop_leaves_the_finished_rows_and_the_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(case: Case, *rest: Any) -> dict[str, Any]:
        if case.variant == "plain dropping":
            raise Interrupted(signal.SIGINT, tmp_path / "step")
        return fake(case)

    output, words = tmp_path / "rows.json", ["--size", "quick", "--data", "digits"]
    words += ["--output", str(output), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(vit_accuracy, "measure", stopped)
    assert main(words) == 130
    assert len(json.loads(output.read_text())["rows"]) == 3
    monkeypatch.setattr(vit_accuracy, "measure", fake)
    assert main([*words, "--seeds", "0", "5"]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert len({(row["seed"], row["variant"]) for row in rows}) == len(rows) == 2 * len(VARIANTS)
    assert main([*words, "--dim", "36"]) == 2
    said = capsys.readouterr().err
    assert "vit_accuracy: --output" in said
    assert "dim: 24 -> 36" in said


def test_the_recorded_rows_are_taken_up_and_rivals_alone_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, missing = tmp_path / "rows.json", []

    def noted(case: Case, *_: Any) -> dict[str, Any]:
        missing.append(case.variant)
        return fake(case)

    output.write_bytes(RECORDED.read_bytes())
    monkeypatch.setattr(vit_accuracy, "measure", noted)
    rows = run(SIZES["hour"], {"name": "cifar10"}, tmp_path, output)
    assert set(missing) <= {"ToMe"}
    assert rows[: -len(missing) or None] == json.loads(RECORDED.read_text())["rows"]


def test_a_size_is_one_section() -> None:
    assert isinstance(TINY, Size)
    assert Size(**TINY.model_dump()) == TINY
