"""A data-parallel recovery run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from ms_eff.methods.progressive.family import Family
from ms_eff.models.shards import Shards
from tests.launching import msrun
from tests.methods.progressive.conftest import family_config


def made_by_two(parent: Path, tmp_path: Path, method: dict[str, Any]) -> Family:
    """Run a family with two workers, and return the same of one."""
    script, config = tmp_path / "run.py", tmp_path / "family.yaml"
    script.write_text("from ms_eff.cli import main\nmain()\n")
    wanted = family_config(parent, tmp_path / "two", method=method)
    config.write_text(yaml.safe_dump(wanted.model_dump(mode="json")))
    msrun(script, "compress", config, folder=tmp_path)
    one = Family(
        family_config(parent, tmp_path / "one", method=method), console=Console(quiet=True)
    )
    one.run()
    return one


@pytest.mark.slow
def test_two_workers_make_what_one_does(parent: Path, tmp_path: Path) -> None:
    one = made_by_two(parent, tmp_path, {"tokens": 64, "ratios": [1.25, 2.0]})
    for index in (0, 1):
        expected, start = Shards(one.folder.of(index)), Shards(one.folder.of(index, "steps"))
        found = Shards(tmp_path / "two" / "members" / one.folder.of(index).name)
        moved = 0.0
        for name in expected.names():
            np.testing.assert_allclose(found.array(name), expected.array(name), atol=1e-5)
            moved = max(moved, float(np.abs(expected.array(name) - start.array(name)).max()))
        assert moved > 1e-3  # there was something to agree on


@pytest.mark.slow
def test_without_training_the_first_of_two_makes_what_one_does(
    parent: Path, tmp_path: Path
) -> None:
    one = made_by_two(parent, tmp_path, {"ratios": [1.25]})
    expected = Shards(one.folder.of(0))
    found = Shards(tmp_path / "two" / "members" / "1.25")
    assert found.names() == expected.names()
    for name in expected.names():
        np.testing.assert_allclose(found.array(name), expected.array(name), atol=1e-5)
