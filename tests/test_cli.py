"""The command line as a user meets it: the whole job, and one line for every mistake."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import ms_eff
from ms_eff.methods.lowrank.profile import read_profiles
from ms_eff.train.interrupt import lock_folder

CONFIG = """# a small job for tests
output: OUT
model: {name: resnet18, stem: cifar, width: 4}
data: {name: digits, batch_size: 64, eval_batch_size: 120}
pretrain: {epochs: 2, lr: 0.05}
train: {epochs: 1, lr: 0.02, save_every_steps: 5}
methods: [{lowrank: {params: 0.6}}]
bench: {batch_size: 4, runs: 3, warmup: 1}
"""


def write_config(folder: Path, text: str = CONFIG) -> Path:
    path = folder / "job.yaml"
    path.write_text(text.replace("OUT", str(folder / "run")))
    return path


def one_line(error: str) -> str:
    """Return the last line; a user's mistake leaves exactly one that starts with ms-eff."""
    ours = [line for line in error.splitlines() if line.startswith("ms-eff:")]
    assert len(ours) == 1, error
    assert "Traceback" not in error
    return ours[0]


@pytest.mark.gate
def test_the_whole_job(call, tmp_path):
    config = write_config(tmp_path)
    run = tmp_path / "run"
    code, _, told = call("train", config)
    assert code == 0, told
    results = json.loads((run / "results.json").read_text())
    stages = results["stages"]
    assert list(stages) == ["dense", "decomposed", "fine-tuned"]
    assert stages["decomposed"]["params"] <= 0.6 * stages["dense"]["params"]
    assert stages["fine-tuned"]["params"] == stages["decomposed"]["params"]
    assert len(stages["dense"]["curve"]) == 2

    code, _, told = call("train", config, "train.log_every=1")  # reuses what is there
    assert code == 0
    assert "already trained" in told

    code, said, told = call("eval", config)
    assert code == 0, told
    assert f"fine-tuned: accuracy {stages['fine-tuned']['accuracy']:.4f}" in said
    code, said, _ = call("eval", config, "--checkpoint", run / "models" / "dense")
    assert f"accuracy {stages['dense']['accuracy']:.4f}" in said

    assert call("bench", config)[0] == 0
    code, said, told = call("export", config, "--aipp")
    assert code == 0, told
    assert said.count("verified") == 2
    assert sorted(p.name for p in (run / "export").glob("*.*") if p.suffix != ".json") == [
        "aipp.cfg",
        "fine-tuned.mindir",
        "fine-tuned.onnx",
    ]
    code, said, _ = call("report", config)
    assert code == 0
    assert "fine-tuned" in said
    assert str(run / "report.html") in said.replace("\n", "")
    stages = json.loads((run / "results.json").read_text())["stages"]
    assert stages["dense"]["latency"]["forward"]["median_ms"] > 0
    assert stages["fine-tuned"]["export"]["onnx"]["max_abs_difference"] < 1e-4
    assert_mistakes_about_this_run(call, config, tmp_path)


def test_a_report_without_the_runs_networks_says_so(call, tmp_path):
    config = write_config(tmp_path)
    results = {"environment": {}, "config": {}, "stages": {}, "methods": {"skipvit": {}}}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    with lock_folder(tmp_path / "run"):
        code, _, told = call("report", config)
    assert code == 0, told
    page = (tmp_path / "run" / "report.html").read_text()
    assert "No pictures:" in page
    assert "another run is writing here" in page


def assert_mistakes_about_this_run(call, config, folder):
    """Refusals that need a finished run, checked on the one just made."""
    code, _, told = call("train", config, "train.epochs=4")
    assert code == 2
    assert "train.epochs: 1 -> 4" in one_line(told)
    code, _, told = call("export", config, "--stage", "desne")
    assert (code, "did you mean 'dense'" in one_line(told)) == (2, True)
    with lock_folder(folder / "run"):
        code, _, told = call("train", config)
    assert (code, "another run is writing here" in one_line(told)) == (2, True)
    weights = folder / "run" / "models" / "dense" / "model.safetensors"
    other = f"model.weights={weights}"
    code, _, told = call("train", config, other, "model.width=8", f"output={folder / 'other'}")
    assert code == 2
    assert str(weights) in one_line(told)
    assert "shape" in told or "(" in told
    weights.write_bytes(weights.read_bytes()[:-9])
    code, _, told = call("eval", config)
    assert (code, str(weights) in one_line(told), "damaged" in told) == (2, True, True)
    (folder / "run" / "config.json").write_text("{")
    code, _, told = call("eval", config)
    assert (code, "config.json: damaged" in one_line(told)) == (2, True)


@pytest.mark.gate
def test_compress_prints_its_layers(call, tmp_path):
    config = write_config(tmp_path)
    code, _, told = call("train", config, "data.train_limit=10")
    assert (code, "fill no whole batch" in one_line(told)) == (2, True)
    # what failed before it made anything does not bind the folder to its settings
    code, said, told = call("compress", config, "pretrain.epochs=0", "methods.lowrank.exclude=[fc]")
    assert code == 0, told
    assert "layer4.1.conv2" in said


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["train.epochz=3"], ["train.epochz", "did you mean 'epochs'"]),
        (["train.epochs=many"], ["train.epochs", "'many'"]),
        (["methods.lowrank.ratio=0"], ["methods.lowrank"]),
        (["data.name=cifar10", "data.root=nowhere"], ["nowhere"]),
        (["model.weights=nowhere.safetensors"], ["nowhere.safetensors"]),
        (["output=job.yaml/run"], ["job.yaml", "choose another output"]),
        (["device.target=ascend"], ["ascend", "device.target=cpu"]),
        (["methods.lowrank.include=[nothing]"], ["nothing"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(call, tmp_path, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path).relative_to(tmp_path)
    code, _, told = call("train", config, "pretrain.epochs=0", *words)
    line = one_line(told)
    assert code == 2, line
    if "include" not in words[0]:  # that one is found out when the dense model is done
        assert not (tmp_path / "run").exists()
    for part in parts:
        assert part in line


def test_a_missing_config_is_one_line(call, tmp_path):
    code, _, told = call("train", tmp_path / "no.yaml")
    assert (code, "no.yaml: cannot be read" in one_line(told)) == (2, True)


def test_a_missing_profile_is_noticed_before_anything_is_trained(call, tmp_path):
    search = "methods.lowrank.rank_search={timer: nowhere.json}"
    code, _, told = call("train", write_config(tmp_path), search, "methods.lowrank.params=0.5")
    assert (code, "nowhere.json: cannot be read" in one_line(told)) == (2, True)
    assert not list((tmp_path / "run").glob("pretrain"))


def test_bench_ranks_without_a_config_is_a_usage_error(call):
    code, _, told = call("bench", "ranks")
    assert (code, "bench ranks: a config is missing" in one_line(told)) == (2, True)


@pytest.mark.gate
def test_a_budget_out_of_reach_keeps_the_timings(call, tmp_path):
    text = CONFIG.replace("width: 4", "width: 16").replace("batch_size: 64", "batch_size: 4")
    method = "{lowrank: {latency: 0.01, include: [fc, layer4.1.conv2], layers: [conv],"
    method += " rank_search: {warmup: 1, runs: 3, timer: later.json, device: board},"
    config = write_config(tmp_path, text.replace("{lowrank: {params: 0.6}", method + "}"))
    code, _, told = call("bench", "ranks", config)
    assert (code, "lowrank.latency = 0.01: at most" in one_line(told)) == (2, True)
    (profile,) = read_profiles(tmp_path / "run" / "latency_profile.json")
    assert len(profile.curves) == len(profile.networks) == 1
    ((_, network),) = profile.networks
    assert (network.layers, network.input) == (21, (4, 1, 8, 8))


def test_nothing_to_compress_is_said(call, tmp_path):
    config = write_config(tmp_path, CONFIG.replace("pretrain: {epochs: 2, lr: 0.05}\n", ""))
    code, _, told = call("compress", config)
    assert (code, "nothing to compress" in one_line(told)) == (2, True)


def test_no_results_yet_is_said(call, tmp_path):
    code, _, told = call("report", write_config(tmp_path))
    assert (code, "run `ms-eff train` first" in one_line(told)) == (2, True)


@pytest.mark.parametrize("command", ["train", "compress", "eval", "bench", "export", "report"])
def test_help_shows_an_example(call, command):
    code, said, _ = call(command, "--help")
    assert code == 0
    assert f"ms-eff {command} configs/" in said


def test_a_tokenizer_is_trained_from_text(call, tmp_path):
    pytest.importorskip("tokenizers")
    (tmp_path / "a.txt").write_text("low lower lowest " * 9)
    output = tmp_path / "new" / "tokenizer.json"
    code, said, _ = call("tokenizer", output, tmp_path / "a.txt", "--vocab", "262")
    assert (code, "262 tokens" in said, output.is_file()) == (0, True, True)
    code, _, told = call("tokenizer", output, tmp_path / "none.txt")
    assert (code, "none.txt: cannot be read" in one_line(told)) == (2, True)


def test_list_and_doctor_answer(call):
    code, said, _ = call("list")
    assert code == 0
    for name in ("resnet50", "cifar10", "lowrank", "demo_digits.yaml"):
        assert name in said
    code, said, _ = call("doctor")
    assert code == 0
    for part in ("mindspore", "2.9.0", "kernels: ", "Ascend"):
        assert part in said


@pytest.mark.parametrize(
    ("given", "avx512", "said"),
    [
        (None, True, "ms-eff sets ONEDNN_MAX_CPU_ISA=AVX2 for its runs"),
        (None, False, "no AVX-512, so oneDNN's convolutions are fast"),
        ("AVX512_CORE", True, "ONEDNN_MAX_CPU_ISA=AVX512_CORE is set in your environment"),
    ],
)
def test_the_doctor_knows_the_kernels_of_this_cpu(call, monkeypatch, given, avx512, said):
    monkeypatch.setattr("ms_eff.runtime.cpu_has_avx512", lambda: avx512)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if given:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", given)
    code, answer, _ = call("doctor")
    assert code == 0
    assert said in " ".join(answer.split())


def test_a_failure_of_ours_is_exit_1_with_a_traceback_on_demand(call, monkeypatch):
    def broken(*_):
        raise KeyError("inside")

    monkeypatch.setattr("ms_eff.config.load_any", broken)
    code, _, told = call("train", "x.yaml")
    assert (code, "internal error" in told, "Traceback" in told) == (1, True, False)
    assert "Traceback" in call("train", "x.yaml", "--debug")[2]


def test_import_is_light():
    code = "import sys, ms_eff; assert 'mindspore' not in sys.modules"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    bare = time.perf_counter() - began
    best = 9.0
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        best = min(best, time.perf_counter() - began - bare)
    assert best < 0.3


@pytest.mark.gate
def test_a_run_killed_at_a_random_moment_ends_with_the_same_weights(tmp_path):
    """SIGKILL, again and again, until the job gets through: bit for bit the uninterrupted one."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    config = write_config(tmp_path)
    assert start(config, whole, tmp_path / "whole.log").wait() == 0
    moments = random.Random(os.getpid())  # another moment in every run of the tests
    for attempt in range(3):
        process = start(config, cut, tmp_path / f"{attempt}.log")
        wait_for_checkpoint(cut, process)
        time.sleep(moments.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(config, cut, tmp_path / "last.log").wait() == 0
    first = load_file(whole / "models" / "fine-tuned" / "model.safetensors")
    second = load_file(cut / "models" / "fine-tuned" / "model.safetensors")
    assert first.keys() == second.keys()
    for name in first:
        assert np.array_equal(first[name], second[name]), name


def start(config: Path, output: Path, log: Path) -> subprocess.Popen[bytes]:
    words = ["-c", "from ms_eff.cli import main; main()", "train", config, f"output={output}"]
    with log.open("wb") as stream:
        return subprocess.Popen([sys.executable, *map(str, words)], stderr=stream)


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the run writes a checkpoint that was not there, or ends, or a minute is over."""
    before = set(folder.glob("*/checkpoints/*"))
    for _ in range(600):
        if process.poll() is not None or set(folder.glob("*/checkpoints/*")) - before:
            return
        time.sleep(0.1)


@pytest.mark.gate
def test_a_profile_recorded_by_bench_ranks_drives_the_search(call, tmp_path):
    text = CONFIG.replace("width: 4", "width: 2").replace("batch_size: 64", "batch_size: 4")
    search = "{lowrank: {ratio: 1.2, rank_search: {warmup: 1, runs: 3, floor: 1.0}}}"
    config = write_config(tmp_path, text.replace("{lowrank: {params: 0.6}}", search))
    code, said, told = call("bench", "ranks", config)
    assert code == 0, told
    assert "distinct layers timed for objective infer" in said
    (profile,) = read_profiles(tmp_path / "run" / "latency_profile.json")
    assert profile.conditions.batch == 4
    # 16 convolutions in 7 shapes that repeat, and fc
    assert 0 < len(profile.curves) <= 8
    assert all(curve.dense.runs == 3 and curve.ranks for curve in profile.curves.values())
    _, found = ms_eff.search_ranks(
        ms_eff.build_model("resnet18", stem="cifar", width=2, num_classes=10, in_channels=1),
        ratio=1.2,
        rank_search={"timer": str(tmp_path / "run" / "latency_profile.json"), "floor": 1.0},
        input_shape=(4, 1, 8, 8),
    )
    by_work = {curve.dense.median_ms for curve in profile.curves.values()}
    assert {choice.dense.median_ms for choice in found.values()} == by_work


@pytest.mark.gate
def test_a_profile_for_mixed_precision_training_is_one_of_half_precision_layers(call, tmp_path):
    text = CONFIG.replace("width: 4", "width: 2").replace("batch_size: 64", "batch_size: 4")
    search = "{lowrank: {rank: 4, include: [fc], rank_search: {warmup: 1, runs: 3, floor: 1.0,"
    config = write_config(tmp_path, text.replace("{lowrank: {params: 0.6}", search + "OBJ}}"))
    for objective, dtype in (("train", "float16"), ("infer", "float32")):
        config.write_text(config.read_text().replace("OBJ", f"objective: {objective}"))
        assert call("bench", "ranks", config, "train.precision=O2")[0] == 0
        config.write_text(config.read_text().replace(f"objective: {objective}", "OBJ"))
        profiles = read_profiles(tmp_path / "run" / "latency_profile.json")
        assert profiles[0].conditions.dtype == dtype
        assert {work.dtype for _, work in profiles[0].curves} == {dtype}
    assert len(profiles) == 2
