"""Progressive against one-shot, at its smallest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from ms_eff.bench import progressive_recovery
from ms_eff.errors import ConfigError
from tests.methods.progressive.conftest import family_config, parent

__all__ = ["parent"]  # the fixture


@pytest.mark.slow
def test_arms_end_at_the_same_size_and_tokens(parent: Path, tmp_path: Path) -> None:
    config = tmp_path / "family.yaml"
    method = {"tokens": 32, "allocation": "uniform", "step": "w1_only", "rule": "plain"}
    family = family_config(parent, tmp_path / "unused", method=method)
    config.write_text(yaml.safe_dump(family.model_dump(mode="json")))
    output = tmp_path / "rows.json"
    call = [str(config), "--seeds", "3", "--work", str(tmp_path / "w"), "--output", str(output)]
    assert progressive_recovery.main(call) == 0
    rows = json.loads(output.read_text())["rows"]
    dense, one_shot, progressive = rows
    assert [row["arm"] for row in rows] == list(progressive_recovery.ARMS)
    assert dense["params"] > one_shot["params"] == progressive["params"]
    assert {row["trained_tokens"] for row in rows} == {64}
    with pytest.raises(ConfigError, match="a family that trains is needed"):
        progressive_recovery.main([str(config), "methods.progressive.tokens=0",
                                   "methods.progressive.step=joint"])  # fmt: skip
