"""A family's member in MindFormers' own Trainer, by the `ms_eff:` block of its config."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
import yaml
from mindspore import Tensor
from mindspore.mindrecord import FileWriter

from ms_eff.config import load_any
from ms_eff.errors import CheckpointError, ConfigError, PlanError
from ms_eff.methods.lowrank import apply_lowrank
from ms_eff.methods.lowrank.cells import LowRankDense
from ms_eff.methods.progressive.members import description, load_member, read_plan
from ms_eff.models.llama import llama
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.models.mindformers_llama import mindformers_llama, mindformers_name
from ms_eff.models.mindformers_member import compressed, read_block, write_back
from ms_eff.models.shards import Shards
from ms_eff.parallel import mindformers_blocks
from ms_eff.train import checkpoint
from tests.tolerances import FP32

ASCEND = Path(__file__).parents[1] / "configs/progressive/mindformers/llama2_7b_ascend.yaml"
EXAMPLE = Path(__file__).parents[1] / "configs/progressive/mindformers/smollm2_135m_cpu.yaml"
SIZES = {"vocab_size": 40, "dim": 24, "depth": 1, "heads": 6, "kv_heads": 2, "hidden": 32}
LENGTH = 8


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_DEFAULT_PATH", str(tmp_path))
    monkeypatch.setenv("LOG_MF_PATH", str(tmp_path))
    pytest.importorskip("mindformers")


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny member on disk."""
    network = llama(seed=2, **SIZES, context=LENGTH, rope_base=5e4)
    found, plan, _ = apply_lowrank(network, ratio=1.5)
    path = tmp_path_factory.mktemp("family") / "1.5"
    weights = {p.name: p.asnumpy() for p in found.get_parameters()}
    state = json.loads(json.dumps(description(network.shape, plan)))
    return checkpoint.save(path, weights, state, texts={"plan.json": json.dumps(plan.to_json())})


def their_config(member: Path, folder: Path, **block: Any) -> Path:
    """Write the example at the member's size, and a text for it."""
    writer = FileWriter(str(folder / "text.mindrecord"), 1)
    writer.add_schema({"input_ids": {"type": "int32", "shape": [-1]}})
    steps = np.random.default_rng(0).integers(1, 5, 16)
    rows = [(np.arange(LENGTH + 1) * step % 39).astype(np.int32) for step in steps]
    writer.write_raw_data([{"input_ids": row} for row in rows])
    writer.commit()
    content = yaml.safe_load(EXAMPLE.read_text())
    content["ms_eff"] = {**content["ms_eff"], "plan": str(member), **block}
    content["output_dir"] = str(folder / "out")
    content["runner_config"]["epochs"] = 2
    content["lr_schedule"] |= {"learning_rate": 5e-2}
    content["train_dataset"]["data_loader"] |= {"dataset_dir": str(folder / "text.mindrecord")}
    content["model"]["model_config"] |= {
        **{"vocab_size": 40, "hidden_size": 24, "num_layers": 1, "num_heads": 6},
        **{"n_kv_heads": 2, "intermediate_size": 32, "theta": 5e4, "tie_word_embeddings": False},
        **{"seq_length": LENGTH, "max_position_embedding": LENGTH, "pad_token_id": 39},
    }
    path = folder / "their.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.gate
def test_their_trainer_trains_the_factors_of_a_member(member: Path, tmp_path: Path) -> None:
    from mindformers import MindFormerConfig, Trainer, build_context

    import ms_eff.mindformers  # noqa: F401  (what a user writes)

    losses, steps = [], []

    class Watch(ms.Callback):
        def on_train_step_end(self, run_context: Any) -> None:
            told = run_context.original_args()
            losses.append(float(told.net_outputs[0].asnumpy().item()))
            steps.append(told.train_network)

    config = MindFormerConfig(str(their_config(member, tmp_path)))
    build_context(config)
    Trainer(config, callbacks=[Watch()]).train()
    network = steps[-1].network.network  # below the cell that orders their inputs
    assert len(losses) == 16
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.5
    # the model that they built has the plan's layers
    cells = {n: c for n, c in network.cells_and_names() if isinstance(c, LowRankDense)}
    ranks = {n: c.first.weight.shape[0] for n, c in cells.items()}
    plan = read_plan(member)
    assert ranks == {mindformers_name(entry.name): entry.rank[0] for entry in plan.layers}
    # and begins with its weights, of which the frozen ones stay
    before = Shards(member)
    held = {p.name: p for p in network.get_parameters()}
    optimised = {p.name for p in steps[-1].weights}
    for name in before.names():
        after = held[mindformers_name(name)]
        frozen = ".first." in name
        assert np.array_equal(after.asnumpy(), before.array(name)) == frozen, name
        assert (after.name in optimised) != frozen
    # what was trained there is a member here
    ms.save_checkpoint(network, str(tmp_path / "trained.ckpt"))
    back = load_member(write_back(tmp_path / "trained.ckpt", member, tmp_path / "back"))
    ids = np.random.default_rng(1).integers(0, 39, (2, LENGTH)).astype(np.int32)
    theirs = network.set_train(False)(Tensor(ids))[0].asnumpy()
    mine = back(Tensor(ids)).asnumpy()
    np.testing.assert_allclose(theirs.reshape(mine.shape), mine, atol=FP32, rtol=FP32)


@pytest.mark.gate
# their metric makes a float of an array of one element, which NumPy 1.25 deprecates
@pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning")
def test_their_trainer_evaluates_a_member(
    member: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mindformers import MindFormerConfig, Trainer, build_context
    from mindformers.core.metric.metric import PerplexityMetric

    import ms_eff.mindformers  # noqa: F401

    ids = np.random.default_rng(3).integers(0, 39, (6, LENGTH)).astype(np.int32)
    writer = FileWriter(str(tmp_path / "eval.mindrecord"), 1)
    writer.add_schema({"input_ids": {"type": "int32", "shape": [-1]}})
    writer.write_raw_data([{"input_ids": row} for row in ids])
    writer.commit()
    content = yaml.safe_load(their_config(member, tmp_path).read_text())
    dataset = content["train_dataset"]
    dataset["data_loader"] |= {
        "dataset_dir": str(tmp_path / "eval.mindrecord"),
        "shuffle": False,
    }
    task = {"type": "CausalLanguageModelDataset", "dataset_config": dataset}
    content |= {"run_mode": "eval", "eval_dataset": dataset, "eval_dataset_task": task}
    content["metric"] = {"type": "PerplexityMetric"}
    path = tmp_path / "eval.yaml"
    path.write_text(yaml.safe_dump(content))
    told = []
    original = PerplexityMetric.eval
    monkeypatch.setattr(
        PerplexityMetric, "eval", lambda self: told.append(original(self)) or told[-1]
    )
    config = MindFormerConfig(str(path))
    build_context(config)
    Trainer(config).evaluate()
    # by the member's own logits, in NumPy
    logits = load_member(member)(Tensor(ids)).asnumpy().astype(np.float64)[:, :-1]
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = np.take_along_axis(shares, ids[:, 1:, None].astype(np.int64), -1)
    assert told[-1]["loss"] == pytest.approx(-np.log(found).mean(), rel=FP32)
    assert told[-1]["PPL"] == pytest.approx(np.exp(-np.log(found).mean()), rel=FP32)


@pytest.mark.slow  # two compiled trainings
def test_training_goes_on_from_their_checkpoint(member: Path, tmp_path: Path) -> None:
    path = their_config(member, tmp_path)
    content = yaml.safe_load(path.read_text())
    saving = {"prefix": "tiny", "save_checkpoint_steps": 8, "checkpoint_format": "safetensors"}
    content["callbacks"].append({"type": "CheckpointMonitor", **saving, "async_save": False})
    content["load_ckpt_format"] = "safetensors"
    first = trained(path, content)
    saved = sorted((tmp_path / "out").rglob("checkpoint/rank_0/*.safetensors"))[-1]
    # a folder called rank_0 is for several devices
    content["load_checkpoint"] = str(saved.rename(tmp_path / "model.safetensors"))
    second = trained(path, content)
    assert second[0] < first[0] - 0.5
    assert min(second) < min(first)


def trained(path: Path, content: Any) -> list[float]:
    """Train by a config, and return the loss of every step."""
    from mindformers import MindFormerConfig, Trainer, build_context

    import ms_eff.mindformers  # noqa: F401

    losses = []

    class Watch(ms.Callback):
        def on_train_step_end(self, run_context: Any) -> None:
            losses.append(float(run_context.original_args().net_outputs[0].asnumpy().item()))

    path.write_text(yaml.safe_dump(content))
    config = MindFormerConfig(str(path))
    build_context(config)
    Trainer(config, callbacks=[Watch()]).train()
    return losses


def test_a_wrong_block_is_told_in_one_line(member: Path, tmp_path: Path) -> None:
    from mindformers import MindFormerConfig

    import ms_eff.mindformers  # noqa: F401

    with pytest.raises(ConfigError, match=r"^ms_eff: unknown key 'frezze' .did you mean 'freeze'"):
        MindFormerConfig(str(their_config(member, tmp_path, frezze="static")))
    for block, said in (
        ({"freeze": "static"}, "ms_eff: key 'plan' is missing"),
        ({"plan": "x", "freeze": "sequential"}, "compiles one step for one set of weights"),
        ({"plan": "x", "freeze": {"kind": "static", "start": "left"}}, r"freeze\.start = 'left'"),
        ("members/1.25", "a mapping with the key plan"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            read_block(block)
        assert "\n" not in str(caught.value)
    assert read_block(None) is read_block({}) is None


def test_without_the_block_their_trainers_are_theirs() -> None:
    from mindformers import MindFormerModuleType, MindFormerRegister
    from mindformers.trainer import CausalLanguageModelingTrainer

    import ms_eff.mindformers as ours

    found = MindFormerRegister.get_cls(
        MindFormerModuleType.TRAINER, "CausalLanguageModelingTrainer"
    )
    assert issubclass(found, CausalLanguageModelingTrainer)
    ours._register()  # twice is once
    again = MindFormerRegister.get_cls(
        MindFormerModuleType.TRAINER, "CausalLanguageModelingTrainer"
    )
    assert again is found
    with pytest.raises(ConfigError, match="was given a model"):
        found.training_process(None, {"ms_eff": {"plan": "x"}}, object())


def test_a_model_of_another_shape_is_refused(member: Path, tmp_path: Path) -> None:
    settings = read_block({"plan": str(member)})
    with pytest.raises(ConfigError, match="the config builds a Llama; members go into"):
        compressed(llama(seed=0, **SIZES), settings)
    other = LlamaShape(**SIZES)  # of the usual rotary base, which no array's shape tells
    with pytest.raises(ConfigError, match=r"theta = 10000.0: the member .* has 50000.0"):
        compressed(mindformers_llama(other, LENGTH), settings)
    own = LlamaShape(**SIZES, rope_base=5e4)
    scaled = mindformers_llama(own, LENGTH, extend_method="PI", scaling_factor=2.0)
    with pytest.raises(ConfigError, match=r"extend_method = PI: the member .* has None"):
        compressed(scaled, settings)
    biased = mindformers_llama(replace(own, attention_bias=True), LENGTH)
    with pytest.raises(ConfigError, match=r"qkv_has_bias = True: the member .* has False"):
        compressed(biased, settings)
    joined = mindformers_llama(own, LENGTH, qkv_concat=True)
    with pytest.raises(PlanError, match=r"no layer 'model\.layers\.0\.attention\.wq'"):
        compressed(joined, settings)
    with pytest.raises(CheckpointError, match=r"no \.safetensors here"):
        write_back(tmp_path, member, tmp_path / "back")
    state = {"model": {"name": "gpt2", "args": {}}, "plans": [{"plan": {}}]}
    checkpoint.save(tmp_path / "gpt2", {"a": np.zeros(1, np.float32)}, state)
    with pytest.raises(CheckpointError, match="a member of gpt2"):
        compressed(joined, read_block({"plan": str(tmp_path / "gpt2")}))
    with pytest.raises(CheckpointError, match=r"embed_tokens.*is missing|is missing"):
        write_back(tmp_path / "gpt2" / "model.safetensors", member, tmp_path / "back")


def test_a_checkpoint_in_parts_is_a_member_again(member: Path, tmp_path: Path) -> None:
    """As `mindspore.unified_safetensors` leaves it, moments and all."""
    from safetensors.numpy import save_file

    rng, before = np.random.default_rng(5), Shards(member)
    trained = {n: rng.standard_normal(before.shape(n)).astype(np.float32) for n in before.names()}
    names, parts = list(trained), tmp_path / "whole"
    parts.mkdir()
    for i in range(2):
        arrays = {mindformers_name(name): trained[name] for name in names[i::2]}
        save_file({**arrays, f"adam_m.{i}": np.ones(2, np.float32)}, parts / f"part{i}.safetensors")
    (parts / "param_name_map.json").write_text("{}")
    after = Shards(write_back(parts, member, tmp_path / "back"))
    assert after.names() == before.names()
    for name, array in trained.items():
        np.testing.assert_array_equal(after.array(name), array)
    load_member(tmp_path / "back")  # whole


def test_the_config_for_ascend_is_one_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    from mindformers import LlamaConfig, MindFormerConfig

    import ms_eff.mindformers  # noqa: F401

    config = MindFormerConfig(str(ASCEND))
    assert read_block(config.ms_eff).plan == Path("runs/llama2_7b_1.25/members/1.25")
    # the mesh is the one that ms-eff checks against the parent, and writes beside its members
    ours = load_any(EXAMPLE.parents[1] / "llama2_7b_ascend.yaml").parallel
    blocks = mindformers_blocks(ours)
    assert config.use_parallel is True
    for name in ("parallel", "parallel_config"):
        assert {key: config[name][key] for key in blocks[name]} == blocks[name]
    # the shape is LLaMA-2-7B's
    model = LlamaConfig(**config.model.model_config)
    shape = LlamaShape(
        vocab_size=model.vocab_size,
        dim=model.hidden_size,
        depth=model.num_layers,
        heads=model.num_heads,
        kv_heads=model.n_kv_heads or model.num_heads,
        hidden=model.intermediate_size,
    )
    assert shape.params == 6_738_415_616
    assert (model.theta, model.rms_norm_eps) == (10_000.0, 1e-5)
    # 0.2e9 tokens a step of the family: what the header counts with
    batch = config.train_dataset.batch_size * config.parallel_config.data_parallel
    assert 6104 * batch * model.seq_length == pytest.approx(2e8, rel=1e-4)


def test_the_import_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from ms_eff.errors import SetupError

    for name in [n for n in sys.modules if n.split(".")[0] == "mindformers"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "ms_eff.mindformers", raising=False)
    with pytest.raises(SetupError, match=r"pip install 'ms_eff\[llm\]'"):
        import ms_eff.mindformers  # noqa: F401
