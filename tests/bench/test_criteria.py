"""A whole table on a network trained for moments; agreement by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mindspore import nn

from ms_eff import models
from ms_eff.bench import criteria
from ms_eff.bench.criteria import RIVALS, compare, main, table
from ms_eff.bench.criteria_scores import agreement_of
from ms_eff.methods.lowrank.layers import network_params

CONFIG = """
output: {output}
model: {{name: resnet18, stem: cifar, width: 8, num_classes: 10, in_channels: 1{weights}}}
data: {{name: digits, batch_size: 64, test_limit: 100}}
train: {{epochs: 0}}
"""


@pytest.mark.gate
def test_every_network_is_within_the_same_share_and_a_known_row_is_left_out() -> None:
    pytest.importorskip("tensorly")
    network = models.build("resnet18", stem="cifar", width=8, num_classes=5, in_channels=1)
    rng = np.random.default_rng(0)

    def batches():
        yield rng.standard_normal((16, 1, 8, 8), dtype=np.float32), rng.integers(0, 5, 16)

    known = [("weight", "uniform", 2.0)]
    rows = list(
        compare(network, lambda net: {"accuracy": float(network_params(net))}, batches,
                ratios=(2.0,), samples=16, known=known)
    )  # fmt: skip
    ours = [
        (criterion, allocation)
        for criterion in ("weight", "activation", "two_sided")
        for allocation in ("uniform", "global")
    ]
    kinds = [(row["criterion"], row["allocation"]) for row in rows]
    assert kinds == [*ours[1:], *RIVALS]
    assert all(0.4 < row["params"] <= 0.5 for row in rows)
    far = {**rows[0], "criterion": "activation", "allocation": "uniform", "params": 0.6}
    assert "out of reach" in table({"rows": [far]}, "accuracy")[4]
    lines = table({"rows": rows}, "accuracy")
    assert lines[2].startswith("| weight | uniform | –")  # noqa: RUF001
    assert len(lines) == 2 + len(ours) + len(RIVALS)
    # a file from before the rivals has no lines of theirs
    assert len(table({"rows": rows[: len(ours) - 1]}, "accuracy")) == 2 + len(ours)


def test_agreement_counts_first_choices_and_directions() -> None:
    logits = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    assert agreement_of(logits, 2 * logits + 1) == pytest.approx({"agreement": 1, "cosine": 1})
    turned = agreement_of(logits, -logits)
    assert turned == pytest.approx({"agreement": 0.0, "cosine": -1.0})


@pytest.mark.gate
def test_rows_are_saved_taken_up_and_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorly")
    monkeypatch.setattr(criteria, "RATIOS", (2.0,))
    network = models.build("resnet18", stem="cifar", width=8, num_classes=10, in_channels=1)
    models.save_weights(network, tmp_path / "net.safetensors")
    config, output = tmp_path / "a.yaml", tmp_path / "rows.json"
    weights = f", weights: {tmp_path}/net.safetensors"
    config.write_text(CONFIG.format(output=tmp_path, weights=weights))
    seen: list[int] = []

    def few(network: nn.Cell, score, batches, *, samples, known):
        seen.append(len(known))
        return compare(network, score, batches, ratios=(2.0,), samples=samples, known=known)

    monkeypatch.setattr(criteria, "compare", few)
    words = [str(config), "--agreement", "--samples", "32", "--output", str(output)]
    assert main(words) == 0
    assert main(words) == 0
    own = json.loads(output.read_text())["networks"]["resnet18"]
    assert seen == [0, 9]
    assert own["dense"]["agreement"] == 1.0
    assert len(own["rows"]) == 9
    assert main([*words, "--samples", "16"]) == 2
    assert "calibration_samples = 32, these of 16; choose another" in capsys.readouterr().err
    assert main([*words[:-2], "--output", str(output), "data.test_limit=50"]) == 2
    assert "test_images = 100, these of 50" in capsys.readouterr().err
    labelled = [str(config), "--photographs", "--output", str(output)]
    assert main(labelled) == 2
    assert "--photographs: they have no labels" in capsys.readouterr().err
    config.write_text(CONFIG.format(output=tmp_path, weights=""))
    assert main(words) == 2
    assert "model.weights: nothing to decompose" in capsys.readouterr().err
