"""What a family is refused for, before anything is measured, written or deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ms_eff.errors import CheckpointError, ConfigError, UserError
from ms_eff.methods.progressive.family import Family
from ms_eff.methods.progressive.family_folder import FamilyFolder
from ms_eff.methods.progressive.fit import check_fit
from ms_eff.methods.progressive.settings import FamilyConfig
from ms_eff.models.parents import open_parent
from ms_eff.runtime import Worker
from tests.methods.progressive.conftest import family_config
from tests.models.llamas import TINY

QUIET = Console(quiet=True)


def without(config: FamilyConfig, **parent: Any) -> FamilyConfig:
    """Return the config with another parent."""
    return config.model_copy(update={"parent": config.parent.model_copy(update=parent)})


def test_a_mistyped_parent_leaves_no_claim_on_the_folder(parent: Path, tmp_path: Path) -> None:
    right = family_config(parent, tmp_path / "run")
    wrong = without(right, path=parent / "typo")
    with pytest.raises(CheckpointError, match="no model here"):
        Family(wrong, console=QUIET)
    assert not (tmp_path / "run").exists()
    Family(right, console=QUIET)  # was "made with other settings"
    assert (tmp_path / "run" / "config.json").exists()


def test_starting_over_by_mistake_deletes_nothing(parent: Path, tmp_path: Path) -> None:
    right = family_config(parent, tmp_path)
    Family(right, console=QUIET)
    member = tmp_path / "members" / "2" / "model.safetensors"
    member.parent.mkdir(parents=True)
    member.write_bytes(b"an hour of work")
    with pytest.raises(CheckpointError, match="no model here"):
        Family(without(right, path=parent / "typo"), console=QUIET, fresh=True)
    assert member.exists()
    Family(right, console=QUIET, fresh=True)
    assert not member.exists()


def test_a_folder_of_other_things_is_not_started_over_in(parent: Path, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "photographs.tar").write_text("mine")
    config = family_config(parent, tmp_path)
    with pytest.raises(ConfigError, match=r"holds 'train' and no config\.json of a family"):
        Family(config, console=QUIET, fresh=True)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ConfigError, match=r"its config\.json is no family's; choose another"):
        Family(config, console=QUIET, fresh=True)
    assert (tmp_path / "train" / "photographs.tar").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recovery": {"files": ["gone.txt"]}}, r"gone\.txt: cannot be read"),
        ({"recovery": {"block": 32, "batch": 30}}, r"recovery\.files: 600 tokens do not fill"),
        ({"calibration": {"files": ["gone.txt"]}}, r"gone\.txt: cannot be read"),
        ({"calibration": {"tokens": 9}}, r"calibration\.files: 9 tokens make no window of 16"),
        ({"evaluation": {"tokens": 9}}, r"evaluation\.files: 9 tokens make no window of 16"),
        (
            {"evaluation": {"prompts": ["w1 w2 w3"], "new_tokens": 30}},
            r"prompts: 'w1 w2 w3' is 3 tokens long, new_tokens = 30, .* has 32 positions; shorten",
        ),
        ({"evaluation": {"prompts": [""]}}, r"evaluation\.prompts: '' has no token; drop it"),
        (
            {"evaluation": {"questions": {"mine": "QUESTIONS"}}},
            r"evaluation\.questions\.mine: zero",
        ),
    ],
)
def test_texts_are_looked_at_first(
    parent: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    questions = tmp_path / "questions.jsonl"
    blank = {"sentence": "w1 _", "option1": "w1", "option2": "w2", "answer": "1"}
    questions.write_text(json.dumps(blank))  # nothing behind the blank: nothing to be scored
    content = family_config(parent, tmp_path / "run", method={"tokens": 64}).to_dict()
    for section, values in changes.items():
        for key, value in values.items():
            named = {"mine": str(questions)} if key == "questions" else value
            content[section][key] = named
    with pytest.raises(UserError, match=message):
        Family(FamilyConfig(**content), console=QUIET)
    assert not (tmp_path / "run").exists()


def test_workers_that_cannot_share_a_batch_are_told_first(parent: Path, tmp_path: Path) -> None:
    config = family_config(parent, tmp_path, method={"tokens": 64})
    with pytest.raises(ConfigError, match=r"recovery\.batch = 2: does not share out over 3"):
        check_fit(config, open_parent(parent), 3)
    untrained = family_config(parent, tmp_path)
    check_fit(untrained, open_parent(parent), 3)  # its batch is not used


class _Waits(Exception):  # noqa: N818
    """Instead of waiting for a file."""


def test_without_training_the_first_worker_works_alone(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = Family(family_config(parent, tmp_path), console=QUIET)
    family.worker = family.folder.worker = Worker(1, 2)

    def wait(self: FamilyFolder, path: Path) -> None:
        raise _Waits(path)

    monkeypatch.setattr(FamilyFolder, "wait_for", wait)
    with pytest.raises(_Waits, match=r"members/1\.25/state\.json"):
        family.run()
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_it_says_how_many_tokens_there_were(parent: Path, tmp_path: Path) -> None:
    content = family_config(parent, tmp_path).to_dict()
    content["evaluation"]["tokens"] = 1000
    judge = Family(FamilyConfig(**content), console=QUIET).judge
    assert judge.tokens == 600 // 16 * 16
    assert judge.shortfall.startswith("evaluation.tokens = 1,000: 592 are read; the text has 600")
    content["evaluation"] |= {"tokens": None}
    content["output"] = str(tmp_path / "all")
    judge = Family(FamilyConfig(**content), console=QUIET).judge
    assert (judge.tokens, judge.shortfall) == (592, "")


@pytest.mark.parametrize("section", ["evaluation", "calibration", "recovery", "prompts"])
def test_another_models_tokenizer_is_refused(parent: Path, tmp_path: Path, section: str) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"w{i}": i for i in range(TINY["vocab_size"])} | {"beyond": TINY["vocab_size"]}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text = tmp_path / "text.txt"
    text.write_text((parent / "text.txt").read_text() + " beyond")
    config = without(
        family_config(parent, tmp_path / "run", method={"tokens": 64}),
        tokenizer=tmp_path / "tokenizer.json",
    )
    if section == "prompts":
        changed = {"evaluation": config.evaluation.model_copy(update={"prompts": ("w1 beyond",)})}
    else:
        changed = {section: getattr(config, section).model_copy(update={"files": (text,)})}
    name = "evaluation.prompts" if section == "prompts" else f"{section}.files"
    with pytest.raises(ConfigError, match=f"{name}: the tokenizer gives token 64, and the model"):
        Family(config.model_copy(update=changed), console=QUIET)
    assert not (tmp_path / "run").exists()
