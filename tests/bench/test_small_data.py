"""The small-data experiment: rows, what they are taken up by, the table, and the configs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ms_eff.bench import small_data
from ms_eff.bench.rows import Rows, read_rows
from ms_eff.bench.small_data import KIND, RECIPES, Plan, main, run
from ms_eff.config import load_config
from ms_eff.errors import ConfigError, DivergedError
from ms_eff.report.small_data import main as report
from ms_eff.report.small_data import markdown

CONFIGS = Path(__file__).parents[2] / "configs" / "small_data"
SMALL = (
    *("model.width=2", "data.image_size=8", "data.train_limit=128", "data.test_limit=50"),
    *("data.batch_size=32", "data.eval_batch_size=50", "train.epochs=3"),
)


def _plan(*recipes: str, seconds: float = 60.0, seeds=(0,)) -> Plan:
    return Plan(recipes, seeds, seconds, "digits", CONFIGS, SMALL)


def test_every_recipe_is_a_valid_config_with_the_budget_and_the_data_of_the_paper() -> None:
    for path in CONFIGS.glob("*.yaml"):
        if path.stem.endswith("_ascend"):  # other budgets; see tests/test_ascend_configs.py
            continue
        config = load_config(path, ["data.root=somewhere"])
        assert config.train.time_budget == 600
        assert config.data.train_limit == 5000
        assert path.read_text().splitlines()[0].startswith("# ResNet-9 on 5,000 CIFAR-10 images")
        assert config.output.name == path.stem.removeprefix("resnet9_cifar10_5k_")
    assert {f"resnet9_cifar10_5k_{name}" for name in RECIPES} < {p.stem for p in CONFIGS.iterdir()}


@pytest.mark.gate
def test_rows_are_saved_and_taken_up(tmp_path, monkeypatch) -> None:
    done = []

    def fake(config, console):
        done.append((config.output.parent.name, config.seed))
        assert config.output.is_dir()
        return {"accuracy": 0.5}

    monkeypatch.setattr(small_data, "measured", fake)
    work, output = tmp_path / "work", tmp_path / "rows.json"
    run(_plan("baseline"), work, output, "first")
    both = run(_plan("baseline", "sam", seeds=(0, 1)), work, output, "second")
    assert done == [("baseline", 0), ("sam", 0), ("baseline", 1), ("sam", 1)]
    assert both.pop("diverged") == []
    assert read_rows(output, KIND) == {"format": KIND.format, **both}
    assert [row["call"] for row in both["rows"]] == [0, 1, 1, 1]
    assert list(both["settings"]["recipes"]) == ["baseline", "sam"]
    with pytest.raises(ConfigError, match="made with other settings"):
        run(_plan("baseline", seconds=30.0), work, output)
    plan = _plan("best")
    held_out = replace(plan, overrides=(*plan.overrides, "data.test_split=held_out"))
    with pytest.raises(ConfigError, match="test_split: test -> held_out"):
        run(held_out, work, output)


def test_a_row_that_diverges_is_told_and_the_others_are_measured(
    tmp_path, monkeypatch, capsys
) -> None:
    def fake(config, console):
        if config.output.parent.name == "sam":
            raise DivergedError("training diverged at step 7: loss is nan")
        return _row(config.output.parent.name, config.seed, 0.5)

    monkeypatch.setattr(small_data, "measured", fake)
    words = [f"--work={tmp_path / 'work'}", f"--output={tmp_path / 'rows.json'}", "--data=digits"]
    words += [f"--configs={CONFIGS}", "--rows", "baseline", "sam", "sam_gc", "--seeds", "0", "1"]
    assert main(words) == 2
    told = capsys.readouterr()
    assert [line for line in told.err.splitlines() if "small_data" in line] == [
        f"small_data: sam seed {seed}: training diverged at step 7: loss is nan" for seed in (0, 1)
    ]
    assert "| sam_gc | 2 |" in told.out
    assert "| sam |" not in told.out
    rows = read_rows(tmp_path / "rows.json", KIND)["rows"]
    assert [row["recipe"] for row in rows] == ["baseline", "sam_gc"] * 2


@pytest.mark.slow
def test_a_row_starts_anew_whatever_its_folder_holds(tmp_path) -> None:
    plan, work, output = _plan("baseline"), tmp_path / "work", tmp_path / "rows.json"
    wild = replace(plan, overrides=(*plan.overrides, "train.lr=1e30", "train.save_every_steps=1"))
    (line,) = run(wild, work, output)["diverged"]
    assert line.startswith("baseline seed 0: training diverged at step")
    folder = work / "baseline" / "seed0"
    assert list(folder.glob("train/checkpoints/step-*"))  # other settings could not go on from it
    (row,) = run(plan, work, output)["rows"]
    assert (row["steps"], row["epochs"]) == (12, 3.0)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["sam_ip", "meta"])
def test_a_real_row_says_what_was_trained(tmp_path, recipe) -> None:
    found = run(_plan(recipe), tmp_path / "work", tmp_path / "rows.json")
    (row,) = found["rows"]
    assert (row["steps"], row["epochs"], row["train_images"]) == (12, 3.0, 128)
    assert row["curve"][-1]["accuracy"] == row["accuracy"]
    assert 0 < row["seconds"] < row["wall_seconds"]
    assert row["seconds"] < 60


def test_settings_that_nobody_gave_tell_no_file_from_another() -> None:
    recipe = _plan("baseline").settings()["recipes"]["baseline"]
    assert recipe["model"] == {"name": "resnet9", "form": "baseline", "width": 2}
    assert None not in {**recipe["data"], **recipe["train"]}.values()


def test_a_wrong_recipe_or_setting_is_a_user_s_mistake(tmp_path, capsys) -> None:
    shared = [f"--work={tmp_path / 'work'}", f"--output={tmp_path / 'rows.json'}"]
    shared += ["--data=digits", f"--configs={CONFIGS}"]
    assert main([*shared, "--rows", "bets"]) == 2
    assert "did you mean 'resnet9_cifar10_5k_best.yaml'" in capsys.readouterr().err
    assert main([*shared, "--rows", "best", "--set", "train.lrr=1"]) == 2
    assert "train.lrr" in capsys.readouterr().err


def _row(recipe: str, seed: int, accuracy: float) -> dict:
    pace = {"epochs": 50.0, "images_per_second": 400.0, "seconds": 599.0}
    return {"recipe": recipe, "seed": seed, "accuracy": accuracy, **pace}


def test_the_table_stands_beside_the_paper_s_and_says_what_was_found(tmp_path, capsys) -> None:
    rows = [_row("baseline", 0, 0.60), _row("baseline", 1, 0.62), _row("sam", 0, 0.59)]
    rows += [_row("best", 0, 0.77)]
    results = {"settings": {"data": "cifar10", "seconds": 600.0}, "calls": [], "rows": rows}
    table = markdown(results)
    assert "| baseline | 2 | 61.00 ± 1.41 | 50.0 | 400 | 599 | 76.65 (168) |" in table
    assert "76.65 %: reached by best" in table
    assert "best lies +16.00 points from the baseline; as wanted" in table
    assert "order as found: sam < baseline; in the paper: baseline < sam" in table
    assert "held out" not in table
    results["settings"]["test_split"] = "held_out"
    assert "Scored on training images that were held out" in markdown(results)
    assert report([str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_the_plot_has_a_line_a_run_and_a_name_a_recipe(tmp_path, capsys) -> None:
    rows = Rows(tmp_path / "rows.json", KIND, {"data": "cifar10", "seconds": 600.0})
    curve = [{"seconds": 300.0, "accuracy": 0.5}, {"seconds": 598.0, "accuracy": 0.6}]
    for recipe, seed in (("baseline", 0), ("baseline", 1), ("best", 0)):
        rows.add(_row(recipe, seed, 0.6) | {"curve": curve})
    assert report([str(tmp_path / "rows.json")]) == 0
    drawn = (tmp_path / "rows.svg").read_text(encoding="utf-8")
    assert drawn.count(">baseline<") == drawn.count(">best<") == 1
    assert "seconds of training" in drawn
    assert capsys.readouterr().out.startswith("| recipe |")
