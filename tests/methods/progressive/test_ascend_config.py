"""The config for LLaMA-2-7B on Ascend, with a parent of a CPU's size."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from rich.console import Console

from ms_eff.config import load_any
from ms_eff.errors import ConfigError
from ms_eff.methods.progressive.family import Family
from ms_eff.methods.progressive.settings import FamilyConfig

CONFIG = Path(__file__).parents[3] / "configs" / "progressive" / "llama2_7b_ascend.yaml"


def family(parent: Path, output: Path, **parallel: object) -> Family:
    raw = load_any(CONFIG).to_dict()
    text = {"files": [str(parent / "text.txt")], "tokens": 160, "window": 16}
    raw["methods"][0]["progressive"] |= {"divisor": 1, "ratios": [1.25]}
    raw |= {"output": str(output), "device": {"target": "cpu"}, "parent": {"path": str(parent)}}
    raw |= {"calibration": text, "evaluation": {**raw["evaluation"], **text}}
    raw["parallel"] |= parallel
    return Family(FamilyConfig(**raw), console=Console(quiet=True))


@pytest.mark.slow
def test_a_member_comes_with_the_mesh_that_it_was_checked_against(parent, tmp_path) -> None:
    made = family(parent, tmp_path, model=1, vocabulary=False)
    assert [row["ratio"] for row in made.run()] == [1.0, 1.25]
    blocks = yaml.safe_load((made.folder.of(0) / "mindformers.yaml").read_text())
    assert blocks["parallel_config"]["data_parallel"] == 2
    assert blocks["parallel"]["enable_parallel_optimizer"] is True


def test_a_mesh_that_does_not_fit_the_parent_is_refused_at_once(parent, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"parallel\.model = 7: .*does not divide by it"):
        family(parent, tmp_path, model=7)
