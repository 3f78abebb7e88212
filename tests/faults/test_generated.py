"""Generated bad inputs: whatever is in a file, an error of ours comes out or it is taken.

Eleven properties; `make nightly` tries 200 inputs of each, the fast tests 20.
"""

import json
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ms_eff
from ms_eff.config import load_any
from ms_eff.data.clip_files import ClipPlan, read_clip
from ms_eff.data.image_folder import FolderSplit
from ms_eff.data.language import encode_files
from ms_eff.data.multiple_choice import read_questions
from ms_eff.data.tables import read_columns
from ms_eff.data.tokens import load_tokenizer
from ms_eff.errors import UserError
from ms_eff.launch.rank_table import check_rank_table
from ms_eff.methods.lowrank.plan import LayerPlan, LowRankPlan
from ms_eff.methods.lowrank.profile import read_profiles
from ms_eff.models.formats import read_arrays, write_arrays
from ms_eff.models.shards import Shards
from ms_eff.results import read_results
from ms_eff.train import checkpoint
from tests.faults.generated import JUNK, SMALL_JUNK, changed, damaged

ROOT = Path(ms_eff.__file__).parents[1]


@contextmanager
def only_ours(folder):
    """Let errors of ours pass, and nothing else; no file comes or goes in the folder."""
    before = sorted(folder.rglob("*"))
    with suppress(UserError):
        yield
    assert sorted(folder.rglob("*")) == before


CONFIGS = [
    yaml.safe_load(text)
    for text in (
        """
        {output: OUT, seed: 1, device: {target: cpu}, model: {name: resnet18, width: 4},
        data: {name: digits, batch_size: 64}, pretrain: {epochs: 2}, train: {lr: 0.1, epochs: 1},
        methods: [{lowrank: {params: 0.6}}, {sam: {}}], export: {formats: [onnx]}}
        """,
        """
        {output: OUT, model: {name: vit, dim: 12, depth: 2, heads: 2, patch_size: 4},
        data: {name: synthetic, image_size: 8, channels: 1, statistics: null},
        train: {betas: [0.9, 0.99], optimizer: adamw, time_budget: 5m},
        methods: [{skipvit: {drop: 0.5}}, {gqkva: {kind: gkva, groups: 2}}, {swiftlearn: {}}]}
        """,
        """
        {output: OUT, parent: {path: p.gguf}, calibration: {files: [a.txt], tokens: 64, window: 8},
        evaluation: {files: [b.txt], tokens: 64, window: 8, prompts: [The], new_tokens: 3},
        methods: [{progressive: {ratios: [1.1, 1.3], tokens: 0, rule: two_sided}}]}
        """,
    )
]


def refused(call, folder, text, *overrides):
    """Run a command that reads a config and then finds no results: always a user's mistake."""
    file = folder / "job.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    code, said, told = call("report", file, *overrides)
    assert code == 2, told
    assert (said, told.count("\n"), told.startswith("ms-eff: ")) == ("", 1, True), told
    assert [p.name for p in folder.iterdir()] == ["job.yaml"]


@pytest.mark.gate
@given(st.sampled_from(CONFIGS).flatmap(changed))
def test_configs_with_a_mistake_somewhere(call, tmp_path, monkeypatch, config):
    monkeypatch.chdir(tmp_path)
    refused(call, tmp_path, yaml.safe_dump(config))


@given(st.one_of(damaged(yaml.safe_dump(CONFIGS[0]).encode()), st.text(max_size=60)))
def test_configs_that_are_other_text(call, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    refused(call, tmp_path, text)


KEYS = ["train.lr", "methods.lowrank.params", "methods.new.x", "data", "model.name.x", "output"]


@given(
    st.lists(
        st.tuples(st.one_of(st.sampled_from(KEYS), st.text(max_size=8)), JUNK), min_size=1
    ).map(lambda pairs: [f"{key}={json.dumps(value)}" for key, value in pairs])
)
def test_overrides(tmp_path, overrides):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(CONFIGS[0]))
    with only_ours(tmp_path):
        load_any(tmp_path / "job.yaml", overrides)


LAYERS = (
    LayerPlan("fc", "dense", (10, 64), (4,)),
    LayerPlan("conv", "conv", (8, 8, 3, 3), (4, 4), branches=2),
)
TIMING = {"median_ms": 1.0, "p10_ms": 0.9, "p90_ms": 1.1, "runs": 3}
JSONS = {
    "plan.json": (LowRankPlan(LAYERS, {"criterion": "weight"}).to_json(), LowRankPlan.load),
    "profile.json": (
        {
            "format": "ms_eff.latency/2",
            "profiles": [
                {"device": "cpu", "layers": [{"kind": "dense", "dense": TIMING}], "networks": []}
            ],
        },
        read_profiles,
    ),
    "results.json": ({"stages": {"dense": {"curve": [1]}}}, read_results),
    "ranks.json": (
        {
            "server_list": [
                {"device": [{"device_id": "0", "device_ip": "10.0.0.1", "rank_id": "0"}]}
            ]
        },
        lambda path: check_rank_table(path, 1, 1),
    ),
    "questions.jsonl": (
        {"question": "a", "choices": ["b", "c"], "answer": 1, "context": "d", "options": ["e"]},
        read_questions,
    ),
    "table.jsonl": ({"text": "a", "label": 1}, lambda path: read_columns(path, ["text", "label"])),
}


@given(st.sampled_from(list(JSONS)), st.data())
def test_plans_profiles_and_other_json(tmp_path, name, data):
    value, reader = JSONS[name]
    text = json.dumps(data.draw(changed(value)))
    content = data.draw(st.one_of(st.just(text.encode()), damaged(text.encode())))
    (tmp_path / name).write_bytes(content)
    with only_ours(tmp_path):
        reader(tmp_path / name)


WEIGHTS = {
    "fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.ones(2, np.float16),
    "count": np.array(3, np.int64),
}


@given(st.sampled_from(["model.safetensors", "training.safetensors", "state.json"]), st.data())
def test_checkpoints_with_damage(tmp_path, name, data):
    path = checkpoint.save(tmp_path / "one", WEIGHTS, {"epoch": 1}, {"step": np.int32(3)})
    file = path / name
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    with only_ours(tmp_path):
        found = checkpoint.read(path)
        assert found.state["epoch"] == 1  # a blank that became another is all that may pass
        assert all(np.array_equal(found.weights[name], WEIGHTS[name]) for name in WEIGHTS)


VIT = {"name": "vit", "args": {"image_size": 8, "patch_size": 4, "dim": 4, "depth": 2, "heads": 2}}
CNN = {"name": "resnet18", "args": {"width": 1, "stem": "cifar", "in_channels": 1}}
FORMAT = "ms_eff.{}/1"
STATES = [
    {"model": CNN, "plans": [{"method": "lowrank", "plan": {
        "format": FORMAT.format("lowrank"), "settings": {},
        "layers": [{"name": "fc", "kind": "dense", "shape": [1000, 8], "rank": 2}],
    }}]},
    {"model": VIT, "plans": [{"method": "gqkva", "plan": {
        "format": FORMAT.format("gqkva"), "kind": "gkva", "groups": 2,
        "cells": ["blocks.0.attn", "blocks.1.attn"],
    }}]},
    {"model": VIT, "plans": [{"method": "skipvit", "plan": {
        "format": FORMAT.format("skipvit"), "patches": 4, "dropped": 2, "split_block": 0,
        "merge_block": 1, "score": "norm",
    }}]},
    {"model": VIT, "plans": [{"method": "truncation", "plan": {
        "format": FORMAT.format("truncation"), "blocks": "blocks", "depth": 2, "kept": [0],
    }}]},
    {"model": CNN, "plans": [
        {"method": "ghost_batch_norm", "plan": {"splits": 2}},
        {"method": "patch_whitening", "plan": {"layer": "conv1", "filters": [8, 1, 3, 3]}},
    ]},
    {"model": CNN, "plans": [{"method": "spatiotemporal", "plan": {
        "format": FORMAT.format("spatiotemporal"), "variant": "add", "aligned": False,
        "layers": ["a"], "input_shape": [1, 2, 1, 8, 8],
    }}]},
]  # fmt: skip


@given(st.sampled_from(STATES).flatmap(lambda state: changed(state, SMALL_JUNK)))
def test_checkpoints_whose_state_describes_no_network(tmp_path, state):
    path = checkpoint.save(tmp_path / "one", WEIGHTS, {})
    written = {**json.loads((path / "state.json").read_text()), "format": 1}
    described = state if isinstance(state, dict) else {"model": state}
    (path / "state.json").write_text(json.dumps({**written, **described}))
    with only_ours(tmp_path):
        checkpoint.rebuild(path)


@given(st.sampled_from([".safetensors", ".ckpt", ".pth"]), st.data())
def test_weight_files(tmp_path, suffix, data):
    file = tmp_path / f"w{suffix}"
    file.unlink(missing_ok=True)
    if suffix == ".pth":
        torch = pytest.importorskip("torch")
        torch.save({name: torch.from_numpy(array) for name, array in WEIGHTS.items()}, file)
    else:
        write_arrays(file, WEIGHTS)
    content = data.draw(damaged(file.read_bytes()))
    file.unlink()
    file.write_bytes(content)
    with only_ours(tmp_path):
        read_arrays(file)
    if suffix == ".safetensors":
        with only_ours(tmp_path):
            shards = Shards(file)
            for name in shards.names():
                shards.array(name)


PICTURES = {".png": "RGBA", ".jpg": "RGB", ".gif": "P", ".bmp": "RGB", ".tif": "I;16",
            ".webp": "RGB", ".ppm": "L"}  # fmt: skip


# PIL warns of odd metadata beside the pixels and reads on
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.sampled_from(list(PICTURES)), st.data())
def test_pictures(tmp_path, suffix, data):
    file = tmp_path / f"a{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12), np.uint8)
    Image.fromarray(pixels).convert(PICTURES[suffix]).save(file)
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    split = FolderSplit([str(file)], np.zeros(1, np.int32), ("a",), image_size=8)
    with only_ours(tmp_path):
        images, _ = split.batch(np.array([0]))
        assert np.isfinite(images).all()


@given(st.sampled_from([".tsv", ".csv", ".txt"]), st.data())
def test_tables(tmp_path, suffix, data):
    text = 'sentence\tlabel\n"a, b"\t1\nc,d\t0\n'.replace("\t", "," if suffix == ".csv" else "\t")
    file = tmp_path / f"t{suffix}"
    file.write_bytes(data.draw(damaged(text.encode())))
    for columns in (["sentence", "label"], [0, 1]):
        with only_ours(tmp_path):
            rows = read_columns(file, columns)
            assert len({len(column) for column in rows}) == 1


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    pytest.importorskip("tokenizers")
    from ms_eff.data.bpe import train_bpe

    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "a.txt").write_text("low lower lowest " * 9)
    train_bpe([folder / "a.txt"], 262, folder / "tokenizer.json")
    return folder / "tokenizer.json"


@given(st.data())
def test_texts_and_tokenizers(tokenizer_file, tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data.draw(damaged("low and lower, é\n".encode())))
    content = tokenizer_file.read_bytes()
    with only_ours(tmp_path):
        encode_files(load_tokenizer(tokenizer_file), [tmp_path / "a.txt"])
    changes = changed(json.loads(content)).map(lambda value: json.dumps(value).encode())
    (tmp_path / "tokenizer.json").write_bytes(data.draw(st.one_of(changes, damaged(content))))
    with only_ours(tmp_path):
        encode_files(load_tokenizer(tmp_path / "tokenizer.json"), [tmp_path / "a.txt"])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    cv2 = pytest.importorskip("cv2", reason="pip install 'ms_eff[video]'")
    file = tmp_path_factory.mktemp("clip") / "a.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10, (24, 20))
    for grey in range(0, 250, 50):
        writer.write(np.full((20, 24, 3), grey, np.uint8))
    writer.release()
    return file.read_bytes()


@given(st.data())
def test_clips(clip, tmp_path, data):
    (tmp_path / "a.avi").write_bytes(data.draw(damaged(clip)))
    with only_ours(tmp_path):
        frames = read_clip(str(tmp_path / "a.avi"), ClipPlan(3, 8), None, 0)
        assert frames.shape == (3, 8, 8, 3)
