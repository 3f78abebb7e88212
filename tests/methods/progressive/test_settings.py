"""Configs of families."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ms_eff.config import load_any, load_config
from ms_eff.errors import ConfigError
from ms_eff.methods.progressive.settings import FamilyConfig

PLAIN = {"ratios": [1.25, 2.0], "rule": "plain", "allocation": "uniform"}


def write(tmp_path: Path, method: dict[str, object], **more: object) -> Path:
    content = {
        "parent": {"path": "p"},
        "evaluation": {"files": ["t.txt"]},
        "methods": [{"progressive": method}],
        **more,
    }
    path = tmp_path / "family.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_family_is_known_by_its_method(tmp_path: Path) -> None:
    path = write(tmp_path, PLAIN)
    found = load_any(path, ["methods.progressive.divisor=16"])
    assert isinstance(found, FamilyConfig)
    assert found.progressive.divisor == 16
    with pytest.raises(ConfigError, match="run `ms-eff compress"):
        load_config(path)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({**PLAIN, "ratios": [2.0, 1.25]}, "ratios must rise"),
        ({**PLAIN, "rule": "two_sided"}, r"rule two_sided needs text; give calibration\.files"),
        ({**PLAIN, "tokens": 5}, r"give recovery\.files"),
        ({**PLAIN, "step": "w1_only"}, "differs from joint only after training"),
        ({**PLAIN, "passes": 2}, "rule: plain has none"),
        ({"ratios": [1.25], "passes": 2, "tokens": 5}, "without training; drop them, or tokens"),
        ({**PLAIN, "step": "w1_only", "tokens": 5, "allocation": "global"}, "use allocation: uni"),
        ({**PLAIN, "rul": "plain"}, "unknown key 'methods.0.progressive.rul'"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, method: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_any(write(tmp_path, method))


def test_it_stands_alone(tmp_path: Path) -> None:
    methods = [{"progressive": PLAIN}, {"lowrank": {"ratio": 2.0}}]
    with pytest.raises(ConfigError, match="stands alone, found progressive, lowrank"):
        load_any(write(tmp_path, PLAIN, methods=methods))
