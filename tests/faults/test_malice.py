"""Files that hold code, given wherever a file is read: they are refused, and nothing runs."""

import ast
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import ms_eff
from cross_check import bundle
from ms_eff.config import load_any
from ms_eff.data.cifar10 import read_records
from ms_eff.data.clip_files import ClipPlan, read_clip
from ms_eff.data.image_folder import FolderSplit
from ms_eff.data.multiple_choice import read_questions
from ms_eff.data.tables import read_columns
from ms_eff.data.tokens import load_tokenizer
from ms_eff.deploy.graphs import read_graph
from ms_eff.errors import UserError
from ms_eff.launch.rank_table import check_rank_table
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.lowrank.profile import read_profiles
from ms_eff.models.formats import read_arrays
from ms_eff.models.gguf_file import GGUFModel
from ms_eff.models.shards import Shards
from ms_eff.results import read_results
from ms_eff.train import checkpoint


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.fixture
def ran(tmp_path):
    """Return the folder that malicious files make; it must not be there in the end."""
    target = tmp_path / "ran"
    yield target
    assert not target.exists()


def picture(path):
    FolderSplit([str(path)], np.zeros(1, np.int32), ("a",), image_size=8).batch(np.array([0]))


READERS = {
    "weights.pth": read_arrays,
    "weights.pt": read_arrays,
    "weights.ckpt": read_arrays,
    "weights.safetensors": read_arrays,
    "shard.safetensors": Shards,
    "model.gguf": GGUFModel,
    "plan.json": LowRankPlan.load,
    "profile.json": read_profiles,
    "results.json": read_results,
    "tokenizer.json": load_tokenizer,
    "ranks.json": lambda path: check_rank_table(path, 1, 1),
    "questions.jsonl": read_questions,
    "table.tsv": lambda path: read_columns(path, [3]),
    "table.jsonl": lambda path: read_columns(path, ["a"]),
    "data.bin": lambda path: read_records([path]),
    "picture.png": picture,
    "clip.avi": lambda path: read_clip(str(path), ClipPlan(2, 8), None, 0),
    "graph.onnx": read_graph,
    "graph.mindir": read_graph,
    "config.yaml": load_any,
    "bundle.npz": bundle.read,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("protocol", [0, 4])
def test_a_pickle_under_any_name_is_refused_and_not_opened(tmp_path, ran, name, protocol):
    file = tmp_path / name
    file.write_bytes(pickle.dumps({"state_dict": Malicious(str(ran))}, protocol))
    with pytest.raises((UserError, bundle.BundleError), match=name) as error:
        READERS[name](file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "bundle.npz"])
def test_an_array_of_objects_is_refused_and_not_opened(tmp_path, ran, name):
    objects = np.empty(1, object)
    objects[0] = Malicious(str(ran))
    file = tmp_path / name
    with file.open("wb") as stream:
        np.savez(stream, allow_pickle=True, header=objects, weight=objects)
    with pytest.raises((UserError, bundle.BundleError), match=name):
        READERS[name](file)


def test_weights_of_a_checkpoint_that_are_a_pickle_are_refused_though_their_sum_is_right(
    tmp_path, ran
):
    path = checkpoint.save(tmp_path / "one", {"weight": np.zeros(2, np.float32)}, {})
    file = path / "model.safetensors"
    file.write_bytes(pickle.dumps(Malicious(str(ran))))
    state = {"format": 1, "files": {file.name: checkpoint._sha256(file)}}
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read"):
        checkpoint.read(path)


MINIMAL = "model: {name: resnet18}\ndata: {name: digits}\n"
TAGS = [
    "!!python/object/apply:os.mkdir ['TARGET']",
    "!!python/object/new:os.mkdir ['TARGET']",
    "!!python/object/apply:subprocess.check_call [['mkdir', 'TARGET']]",
    "!!python/name:os.mkdir",
    "!!python/module:os",
]


@pytest.mark.parametrize("tag", TAGS)
def test_tags_of_python_in_a_config_are_one_line_wherever_they_stand(call, tmp_path, ran, tag):
    code = tag.replace("TARGET", str(ran))
    (tmp_path / "value.yaml").write_text(f"{MINIMAL}seed: {code}\n")
    (tmp_path / "key.yaml").write_text(f"{MINIMAL}? {code}\n: 1\n")
    (tmp_path / "base.yaml").write_text(f"{code}\n")
    (tmp_path / "above.yaml").write_text("base: base.yaml\n")
    (tmp_path / "plain.yaml").write_text(MINIMAL)
    for words in (["value.yaml"], ["key.yaml"], ["above.yaml"], ["plain.yaml", f"seed={code}"]):
        status, _, told = call("train", tmp_path / words[0], *words[1:])
        assert (status, told.count("\n")) == (2, 1), told
        assert "not valid YAML" in told


def test_what_a_config_calls_a_model_or_a_method_is_looked_up_and_not_imported(call, tmp_path):
    for text in (
        MINIMAL.replace("resnet18", "os:system"),
        MINIMAL.replace("digits", "os.system"),
        MINIMAL + "methods: [{'os:system': {}}]\n",
    ):
        (tmp_path / "c.yaml").write_text(text)
        status, _, told = call("train", tmp_path / "c.yaml")
        assert (status, told.count("\n")) == (2, 1), told


def test_names_in_a_report_are_text():
    pytest.importorskip("jinja2")
    from ms_eff.report.page import render

    script = "<script>alert(1)</script>"
    results = {"config": {"model": {"name": script}}, "environment": {"device": script}}
    page = render({**results, "stages": {}, "methods": {}})
    assert script not in page
    assert "&lt;script&gt;" in page


FORBIDDEN_CALLS = {
    *("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "marshal.loads"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "joblib.load", "torch.jit.load"),
    *("ms.load_checkpoint", "mindspore.load_checkpoint", "shelve.open", "dill.load"),
}
FORBIDDEN_ARGUMENTS = {("allow_pickle", True), ("weights_only", False), ("shell", True)}
ROOT = Path(ms_eff.__file__).parents[1]


def dotted(node):
    """Return a name as it is written: `yaml.load`; empty for what is no name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("folder", ["ms_eff", "cross_check", "ascend_scripts"])
def test_no_source_calls_what_runs_the_contents_of_a_file(folder):
    calls = [
        (path, node)
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    assert calls
    for path, node in calls:
        name = dotted(node.func)
        where = f"{path}:{node.lineno}: {name}"
        assert name not in FORBIDDEN_CALLS, where
        given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
        assert not FORBIDDEN_ARGUMENTS & set(given.items()), where
        if name == "yaml.load":
            loaders = [ast.unparse(k.value) for k in node.keywords if k.arg == "Loader"]
            assert loaders in (["_Loader"], ["yaml.SafeLoader"]), where
        if name == "torch.load":
            assert given.get("weights_only") is True, where
