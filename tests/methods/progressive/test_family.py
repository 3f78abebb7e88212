"""A whole family of a tiny parent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor
from rich.console import Console
from typer.testing import CliRunner

from ms_eff.deploy.export import export
from ms_eff.deploy.inputs import InputSpec
from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.progressive import truncator as module
from ms_eff.methods.progressive.calibration import calibrated
from ms_eff.methods.progressive.core import global_ranks
from ms_eff.methods.progressive.family import Family
from ms_eff.methods.progressive.members import Products, load_member, read_plan, write_merged
from ms_eff.methods.progressive.truncate import Whitening, decompose
from ms_eff.models.parents import open_parent
from ms_eff.models.shards import Shards
from tests.methods.progressive.conftest import family_config
from tests.models.llamas import logits_of, some_ids
from tests.tolerances import EXPORT, FP32

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def made(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    output = tmp_path_factory.mktemp("family")
    rows = Family(family_config(parent, output, True), console=QUIET).run()
    return output, rows


@pytest.mark.gate
def test_members_are_as_small_as_asked_for(made: tuple[Path, list[Any]]) -> None:
    output, rows = made
    dense = rows[0]["block_params"]
    assert dense == 2 * (48 * 24 + 16 * 24) + 3 * 40 * 24
    for row in rows[1:]:
        member = output / "members" / f"{row['ratio']:g}"
        plan, network = read_plan(member), load_member(member)
        # identity: the parameters of the formula, which those on disk are
        saved = sum(
            layer.rank[0] * sum(layer.shape) - np.prod(layer.shape) for layer in plan.layers
        )
        assert row["block_params"] == dense + saved <= dense / row["ratio"]
        assert row["params"] == sum(p.size for p in network.get_parameters())
        assert LowRankPlan.load(member / "plan.json") == plan
        # two matrices for each layer of the plan, and no other
        names = Shards(member).names()
        assert {n.split(".first")[0] for n in names if ".first." in n} == {
            layer.name for layer in plan.layers
        }
    assert rows[0]["perplexity"] < rows[2]["perplexity"]
    assert [row["evaluation_tokens"] for row in rows] == [160] * 3
    assert [row.get("calibration_tokens") for row in rows] == [None, 160, 160]


@pytest.mark.gate
def test_a_merged_member_is_a_model_that_transformers_reads(
    made: tuple[Path, list[Any]], tmp_path: Path, parent: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    member = made[0] / "members" / "2"
    reference = transformers.LlamaForCausalLM.from_pretrained(write_merged(member, tmp_path))
    ids = some_ids()
    result = load_member(member)(Tensor(ids)).asnumpy()
    np.testing.assert_allclose(result, logits_of(reference.eval(), ids), atol=FP32, rtol=FP32)
    with pytest.raises(CheckpointError, match="cannot be read"):
        write_merged(parent, tmp_path)


@pytest.mark.gate
def test_what_is_there_is_kept_and_ratios_may_grow(
    made: tuple[Path, list[Any]], parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, rows = made
    monkeypatch.setattr(module, "calibrated", None)  # the statistics would be measured with it
    method = {"ratios": [1.25, 2.0], "allocation": "global"}
    assert Family(family_config(parent, output, True, method=method), console=QUIET).run() == rows
    assert json.loads((output / "family.json").read_text())["rows"] == rows
    with pytest.raises(ConfigError, match="made with other settings"):
        Family(family_config(parent, output, True, method={"allocation": "uniform"}), console=QUIET)


@pytest.mark.gate
def test_a_second_pass_goes_by_what_the_first_one_made(
    made: tuple[Path, list[Any]], parent: Path, tmp_path: Path
) -> None:
    """The first pass's member is merged on disk and measured there, as any model would be."""
    method = {"ratios": [2.0], "allocation": "global", "passes": 2}
    config = family_config(parent, tmp_path / "twice", method=method)
    Family(config, console=QUIET).run()
    assert config.calibration is not None
    merged = open_parent(write_merged(made[0] / "members" / "2", tmp_path / "merged"))
    family = Family(family_config(parent, tmp_path / "other", method={}), console=QUIET)
    moments = calibrated(merged, family.tokenizer, config.calibration, tmp_path / "moments")
    factors = decompose(
        open_parent(parent), family.shapes, Whitening("two_sided", moments), tmp_path / "factors"
    )
    losses = {name: factors.losses(name) for name in family.shapes}
    plan = read_plan(tmp_path / "twice" / "members" / "2")
    ranks = {layer.name: layer.rank[0] for layer in plan.layers}
    assert ranks == {k: v for k, v in global_ranks(family.shapes, losses, 2.0).items() if v}
    found, before = (
        Products(tmp_path / "twice" / "members" / "2"),
        Products(made[0] / "members" / "2"),
    )
    for name, rank in ranks.items():
        first, last = factors.pair(name, rank)
        product = found.array(f"{name}.weight")
        np.testing.assert_allclose(product, last @ first, atol=1e-4 * abs(product).max())
        assert not np.allclose(product, before.array(f"{name}.weight"), atol=1e-3)


@pytest.mark.gate
def test_the_command_makes_a_plain_family(parent: Path, tmp_path: Path) -> None:
    import yaml

    from ms_eff.cli import app

    method = {"ratios": [2.0], "rule": "plain", "allocation": "uniform"}
    questions = tmp_path / "mmlu.jsonl"
    questions.write_text(json.dumps({"question": "?", "choices": ["w1", "w2"], "answer": 0}))
    config = family_config(parent, tmp_path / "run", method=method)
    judged = config.evaluation.model_copy(
        update={"questions": {"mmlu": questions}, "prompts": ("w1 w2",), "new_tokens": 3}
    )
    config = config.model_copy(update={"evaluation": judged})
    path = tmp_path / "family.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    result = CliRunner().invoke(app, ["compress", str(path)])
    assert result.exit_code == 0, result.output
    ranks = [layer.rank[0] for layer in read_plan(tmp_path / "run" / "members" / "2").layers]
    assert ranks == [8, 4, 4, 8, 7, 7, 7]
    written = json.loads((tmp_path / "run" / "members" / "2" / "config.json").read_text())
    ends = json.loads((parent / "config.json").read_text())["eos_token_id"]
    assert written["eos_token_id"] == ends is not None
    assert "ratio 2" in result.output
    (row,) = json.loads((tmp_path / "run" / "family.json").read_text())["rows"]
    assert row["zero_shot"]["mmlu"]["questions"] == 1
    assert row["samples"][0].startswith("w1 w2 w")
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"{row['params']:,}" in page
    assert (tmp_path / "run" / "size_perplexity.svg").exists()


@pytest.mark.gate
def test_prefill_is_exported_with_equal_logits(
    made: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    network = load_member(made[0] / "members" / "2")
    ids = InputSpec((1, 12), "ids", "int32", high=64)
    for name in ("prefill.mindir", "prefill.onnx"):
        found = export(network, tmp_path / name, [ids])
        assert found.difference.max_abs <= EXPORT * max(found.difference.scale, 1)
        assert found.outputs == ((1, 12, 64),)
