from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mindspore import nn

from ms_eff.bench import allocation
from tests.methods.lowrank.networks import Everything, randomise


def size(network: nn.Cell) -> float:
    return float(sum(p.size for p in network.get_parameters() if "moving" not in p.name))


def test_every_way_is_compared_at_the_same_size() -> None:
    network = randomise(Everything())
    rows = allocation.compare(network, size, shares=(0.8, 0.6))
    ways = ["uniform ratio", *allocation.LOSSES]
    assert [(row["share"], row["loss"]) for row in rows] == [
        (share, way) for share in (0.8, 0.6) for way in ways
    ]
    for row in rows:
        assert row["score"] / size(network) == pytest.approx(row["params"])
        assert row["share"] - 0.05 < row["params"] <= row["share"]


def test_losses_are_what_they_are_called() -> None:
    sigma = np.array([3.0, 2.0, 1.0])
    expected = {
        "squared error": [5, 1, 0],
        "relative squared error": [5 / 14, 1 / 14, 0],
        "log of the energy kept": [-np.log(9 / 14), -np.log(13 / 14), 0],
    }
    for name, losses in allocation.LOSSES.items():
        np.testing.assert_allclose(losses(sigma), expected[name], atol=1e-15)
        assert np.isfinite(losses(np.zeros(3))).all()


def test_one_ratio_for_all_is_found_though_small_layers_drop_out_again() -> None:
    def saved(ratio: float) -> int:  # of 1000, in two layers; the second has no rank beyond 5x
        return int(600 - 600 / ratio) + (int(400 - 400 / ratio) if ratio <= 5 else 0)

    assert allocation.smallest_ratio(saved, 1000, 0.25) == pytest.approx(4.0, rel=1e-3)
    assert allocation.smallest_ratio(saved, 1000, 0.45) == pytest.approx(1 / 0.45, rel=1e-2)
    nearest = allocation.smallest_ratio(saved, 1000, 0.05)
    assert 4.5 < nearest <= 5  # none is within: the one that saves most


def test_the_command_records_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ms_eff.train import checkpoint

    config = tmp_path / "config.yaml"
    config.write_text("model: {name: resnet18}\ndata: {name: digits}\n")
    monkeypatch.setattr(checkpoint, "rebuild", lambda path: randomise(Everything()))
    monkeypatch.setattr(allocation, "_scorer", lambda config: size)
    output = tmp_path / "allocation.json"
    code = allocation.main([str(config), str(tmp_path / "dense"), "--output", str(output)])
    results = json.loads(output.read_text())
    assert code == 0
    assert results["dense"] == size(Everything())
    assert len(results["rows"]) == 20
    assert str(tmp_path) not in json.dumps(results["environment"])
    assert len(capsys.readouterr().out.splitlines()) == 21
