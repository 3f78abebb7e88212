from __future__ import annotations

import json

import pytest

from ms_eff.bench import rank_agreement
from ms_eff.bench.rank_agreement import agreement, main


def test_shares_are_over_pairs_and_layers_and_whole_is_not_close_to_decomposed() -> None:
    searches = [{"a": 32, "b": 64, "c": None}, {"a": 32, "b": 80, "c": 16}, {"a": 32, "b": 64,
                "c": None}]  # fmt: skip
    found = agreement(searches, 16)
    # pairs (0, 1): a equal, b close, c apart; (0, 2): all equal; (1, 2): as (0, 1)
    assert found["equal"] == pytest.approx((1 / 3 + 1 + 1 / 3) / 3)
    assert found["within_step"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert found["worst_pair"] == pytest.approx(2 / 3)


@pytest.mark.gate
def test_searches_are_compared_and_recorded(tmp_path, monkeypatch, capsys) -> None:
    asked = ["--model", "resnet18", "--batch", "1", "--size", "32"]
    assert main([*asked, "--one"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert len(one["ranks"]) == 17  # 16 convolutions and fc; stem and downsamples are left out
    others = iter([one, {**one, "seconds": 700.0}])
    monkeypatch.setattr(rank_agreement, "measured_apart", lambda *_: next(others))
    path = tmp_path / "agreement.json"
    assert main([*asked, "--searches", "2", "--output", str(path)]) == 1  # too slow
    found = json.loads(path.read_text())
    assert found["agreement"] == {"equal": 1.0, "within_step": 1.0, "worst_pair": 1.0}
    assert (found["met"], found["settings"]["model"]) == (False, "resnet18")


def test_the_worst_pair_decides(tmp_path, monkeypatch, capsys) -> None:
    layers = [f"l{i}" for i in range(10)]
    same = {"seconds": 1.0, "ranks": dict.fromkeys(layers, 32)}
    other = {"seconds": 1.0, "ranks": {**same["ranks"], "l0": None, "l1": None}}
    others = iter([same] * 9 + [other])  # 4 % apart on the average, 20 % in the worst pair
    monkeypatch.setattr(rank_agreement, "measured_apart", lambda *_: next(others))
    path = tmp_path / "agreement.json"
    assert main(["--searches", "10", "--output", str(path)]) == 1
    found = json.loads(path.read_text())
    assert found["agreement"]["within_step"] > 0.9 > found["agreement"]["worst_pair"]
    assert found["met"] is False
    assert "in the worst pair 80.0% of layers" in capsys.readouterr().out
