from __future__ import annotations

import json

import pytest

from ms_eff.bench.pipeline import measure
from ms_eff.data import DataSettings


@pytest.mark.parametrize(("split", "batch_size", "batches"), [("train", 16, 3), ("test", 32, 2)])
def test_figures_are_consistent_and_go_to_json(split, batch_size, batches):
    settings = DataSettings(
        name="synthetic",
        train_size=64,
        test_size=50,
        batch_size=16,
        eval_batch_size=32,
        augment="flip",
    )
    found = measure(settings, split=split, repeats=3, max_batches=3)
    assert json.loads(json.dumps(found)) == found
    assert (found["batch_size"], found["batches"]) == (batch_size, batches)
    assert found["augment"] == ("flip" if split == "train" else "none")
    low, middle, high = (found[f"images_per_second{key}"] for key in ("_min", "", "_max"))
    assert 0 < low <= middle <= high
    assert middle * found["batch_ms"] / 1000 == pytest.approx(batch_size)
