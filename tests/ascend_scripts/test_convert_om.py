"""The command lines that convert_om.sh builds and runs; a recorder stands where a tool would."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.deploy.test_input_shape import write_onnx

SCRIPTS = Path(__file__).resolve().parents[2] / "ascend_scripts"
IMAGE = "input:1,3,224,224"

# writes what it was given, and the file that it was asked for
RECORDER = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$RECORD"
for word in "$@"; do
  case $word in
    --output=*) echo om > "${word#*=}.om" ;;
    --outputFile=*) echo mindir > "${word#*=}.mindir" ;;
  esac
done
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "a folder"
    place.mkdir()
    for name in ("net.onnx", "net.mindir", "aipp.cfg"):
        (place / name).write_text("x")
    return place


def call(folder: Path, *words: str, tools: Path | None = None, **variables: str):
    """Run it with a Python that compares no shapes, unless `PYTHON` is among the variables."""
    path = os.pathsep.join([*([str(tools)] if tools else []), "/usr/bin", "/bin"])
    command = ["bash", str(SCRIPTS / "convert_om.sh"), *words]
    given = {"PATH": path, "PYTHON": "false", **variables}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=given)


def tool(folder: Path, name: str, text: str = RECORDER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(text)
    program.chmod(0o755)
    return folder


def words_of(line: str) -> dict[str, str]:
    """Return a printed command's flags, as a shell reads them."""
    return dict(word.split("=", 1) for word in shlex.split(line)[1:])


def test_atc_for_a_picture_network(folder):
    done = call(folder, "--model", "net.onnx", "--input-shape", IMAGE, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert words_of(done.stdout) == {
        "--framework": "5",
        "--model": "net.onnx",
        "--output": "./net_Ascend310P3",
        "--soc_version": "Ascend310P3",
        "--input_format": "NCHW",
        "--input_shape": IMAGE,
        "--precision_mode": "force_fp16",
    }
    assert sorted(p.name for p in folder.iterdir()) == ["aipp.cfg", "net.mindir", "net.onnx"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--precision", "mixed"], {"--precision_mode": "allow_mix_precision"}),
        (["--soc", "Ascend310"], {"--soc_version": "Ascend310", "--output": "./net_Ascend310"}),
        (["--aipp", "aipp.cfg"], {"--insert_op_conf": "aipp.cfg"}),
        (["--output=my net"], {"--output": "my net"}),
        (
            ["--dynamic-batch", "1,2,4,8"],
            {"--dynamic_batch_size": "1,2,4,8", "--input_shape": "input:-1,3,224,224"},
        ),
        (
            ["--input-shape", "ids:1,128;mask:1,128", "--dynamic-batch", "1,2"],
            {
                "--input_format": "ND",
                "--input_shape": "ids:-1,128;mask:-1,128",
                "--dynamic_dims": "1,1;2,2",
            },
        ),
    ],
)
def test_flags_of_ours_become_flags_of_atc(folder, words, expected):
    done = call(folder, "--model=net.onnx", f"--input-shape={IMAGE}", *words, "--dry-run")
    found = words_of(done.stdout)
    assert {key: found.get(key) for key in expected} == expected


def test_converter_lite_gets_a_config_file(folder, tmp_path):
    tools = tool(tmp_path / "some tools", "converter_lite")
    words = ["--model", "net.mindir", "--input-shape", IMAGE, "--precision", "mixed"]
    words += ["--aipp", "aipp.cfg", "--dynamic-batch", "1,4"]
    record = tmp_path / "record"
    done = call(folder, *words, tools=tools, RECORD=str(record))
    assert done.returncode == 0, done.stderr
    *_, shown, made = done.stdout.splitlines()
    assert made == "./net_Ascend310P3.mindir"
    assert shlex.split(shown)[1:] == [
        "--fmk=MINDIR", "--saveType=MINDIR", "--optimize=ascend_oriented", "--modelFile=net.mindir",
        "--outputFile=./net_Ascend310P3", "--configFile=./net_Ascend310P3.cfg",
    ]  # fmt: skip
    # what runs is that, in a scratch folder
    ran = record.read_text().splitlines()
    assert [Path(word).name for word in ran] == [Path(word).name for word in shlex.split(shown)[1:]]
    assert not list(folder.glob(".convert_om*"))
    assert (folder / "net_Ascend310P3.cfg").read_text().splitlines() == [
        "[ascend_context]",
        "precision_mode=preferred_optimal",
        "insert_op_config_file_path=aipp.cfg",
        "input_shape=input:[-1,3,224,224]",
        "dynamic_dims=[1],[4]",
    ]
    assert (folder / "net.mindir").read_text() == "x"


def test_printed_converter_command_writes_its_config_in_a_shell(folder, tmp_path):
    tools = tool(tmp_path / "tools", "converter_lite")
    words = ["--model", "net.onnx", "--input-shape", IMAGE, "--output", "my net", "--dry-run"]
    done = call(folder, *words, "--tool", "converter_lite", tools=tools)
    assert not (folder / "my net.cfg").exists()
    again = subprocess.run(
        ["bash", "-e", "-c", done.stdout], cwd=folder, env={"PATH": "/usr/bin:/bin", "RECORD": "r"}
    )
    assert again.returncode == 0
    assert (folder / "my net.cfg").read_text() == "[ascend_context]\nprecision_mode=enforce_fp16\n"
    assert f"--inputShape={IMAGE}" in (folder / "r").read_text()


@pytest.mark.parametrize("variable", ["PATH", "ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"])
def test_atc_is_found_and_run(folder, tmp_path, variable):
    tools = tool(tmp_path / "cann 8" / "bin", "atc")
    given = {} if variable == "PATH" else {variable: str(tools.parent)}
    record = str(tmp_path / "record")
    done = call(
        folder, "--model", "net.onnx", "--input-shape", IMAGE,
        tools=tools if variable == "PATH" else None, RECORD=record, **given,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "./net_Ascend310P3.om"
    assert "--framework=5" in Path(record).read_text().splitlines()


@pytest.mark.parametrize("text", [f"{RECORDER}exit 3\n", "#!/bin/sh\nexit 0\n"])
def test_a_tool_that_fails_or_writes_nothing_leaves_the_earlier_file(folder, tmp_path, text):
    tools = tool(tmp_path / "tools", "atc", text)
    (folder / "net_Ascend310P3.om").write_text("an earlier one")
    before = sorted(folder.iterdir())
    done = call(folder, "--model", "net.onnx", "--input-shape", IMAGE, tools=tools)
    assert done.returncode == 1
    assert "atc did not write ./net_Ascend310P3.om" in done.stderr
    assert "doctor --graph net.onnx" in done.stderr
    assert (folder / "net_Ascend310P3.om").read_text() == "an earlier one"
    assert sorted(folder.iterdir()) == before


def test_a_signal_ends_the_tool_and_leaves_nothing(folder, tmp_path):
    # as atc does, it starts another process, which holds the pipe open as long as it lives
    tools = tool(tmp_path / "tools", "atc", f"{RECORDER}sleep 600 &\nwait\n")
    before, record = sorted(folder.iterdir()), tmp_path / "record"
    words = ["bash", SCRIPTS / "convert_om.sh", "--model", "net.onnx", "--input-shape", IMAGE]
    variables = {"PATH": f"{tools}:/usr/bin:/bin", "PYTHON": "false", "RECORD": str(record)}
    with subprocess.Popen(words, cwd=folder, env=variables, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as run:  # fmt: skip
        while not list(folder.glob(".convert_om*/*.om")):
            time.sleep(0.02)
        run.send_signal(signal.SIGTERM)
        told = run.communicate(timeout=30)[1]
    assert run.returncode == 143
    assert "convert_om.sh: stopped; nothing was written" in told
    assert sorted(folder.iterdir()) == before


def test_shapes_are_compared_with_the_graph_where_a_python_can(folder):
    write_onnx(folder / "net.onnx", input=(1, 3, 224, 224))
    words = ["--model", "net.onnx", "--dry-run", "--input-shape"]
    done = call(folder, *words, IMAGE, PYTHON=sys.executable)
    assert (done.returncode, done.stderr) == (0, "")
    done = call(folder, *words, "image:1,3,224,224", PYTHON=sys.executable)
    said = "'image' is no input of net.onnx; it takes input:1,3,224,224"
    assert (done.returncode, done.stderr) == (2, f"convert_om.sh: --input-shape: {said}\n")
    done = call(folder, *words, IMAGE, "--dynamic-batch", "1,2", PYTHON=sys.executable)
    assert done.returncode == 2
    assert "--dynamic-batch: the batch axis of 'input' is fixed in net.onnx" in done.stderr
    done = call(folder, *words, "image:1,3,224,224")
    assert done.returncode == 0
    assert done.stderr.startswith("convert_om.sh: --input-shape was not compared with the graph:")


@pytest.mark.parametrize(("model", "name"), [("net.onnx", "atc"), ("net.mindir", "converter_lite")])
def test_without_a_tool_the_command_for_the_board_is_printed(folder, model, name):
    done = call(folder, "--model", model, "--input-shape", IMAGE)
    assert done.returncode == 2
    assert f"no {name} here" in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(f"{name} --")]
    dry = call(folder, "--model", model, "--input-shape", IMAGE, "--dry-run")
    assert line == dry.stdout.splitlines()[-1]
    assert "To install: driver, firmware and CANN toolkit" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "no.onnx"], "--model no.onnx: no such file"),
        (["--model", "aipp.cfg"], "--model aipp.cfg: expected .onnx or .mindir"),
        (["--model"], "--model: a value is missing"),
        (["--input-shape", "1,3,224,224"], "--input-shape: '1,3,224,224', expected NAME:"),
        (["--input-shape", "input:-1,3,8,8"], "a free batch axis (-1) needs --dynamic-batch"),
        (["--input-shape", "input:1,-1,8,8"], "--input-shape: 'input:1,-1,8,8', expected"),
        (["--dynamic-batch", "4"], "--dynamic-batch: '4', expected 2 to 100 sizes"),
        (["--dynamic-batch", "1,0"], "--dynamic-batch: '1,0', expected 2 to 100 sizes from 1"),
        (["--dynamic-batch", "4,4,1"], "--dynamic-batch: '4,4,1' names 4 twice, which atc refuses"),
        (["--dynamic-batch", ",".join(map(str, range(1, 102)))], "expected 2 to 100 sizes from 1"),
        (["--precision", "int8"], "--precision: 'int8', expected fp16 or mixed"),
        (["--soc", "310P3"], "--soc: '310P3', expected a name like Ascend310P3"),
        (["--aipp", "no.cfg"], "--aipp no.cfg: no such file; export.sh --aipp writes it"),
        (["--tool", "atx"], "--tool: 'atx', expected auto, atc or converter_lite"),
        (["--tool", "atc", "--model", "net.mindir"], "--tool atc: it reads no MindIR"),
        (
            ["--tool", "converter_lite", "--output", "aipp", "--aipp", "aipp.cfg"],
            "--output aipp: aipp.cfg would be overwritten",
        ),
        (
            ["--model", "net.mindir", "--output", "net"],
            "--output net: net.mindir is the model itself",
        ),
        (["--output", "no/such/net"], "--output no/such/net: no such folder"),
        (["--output", "."], "--output .: a folder; name a file in it"),
        (["--output", "net.om"], "--output net.om: leave its suffix out"),
        (["net.onnx"], "'net.onnx': no such flag"),
        (["--dry-run=yes"], "--dry-run: it takes no value"),
        (["--soc", "--dry-run"], "--soc: a value is missing"),
        (["--"], "'--': no such flag"),
        (
            ["--input-shape", "ids:1,8", "--dynamic-batch", "1,2", "--aipp", "aipp.cfg"],
            "--aipp: pictures only",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(folder, words, message):
    done = call(folder, "--model", "net.onnx", "--input-shape", IMAGE, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_needs_nothing(folder):
    for script in ("convert_om.sh", "export.sh"):
        done = subprocess.run([SCRIPTS / script, "--help"], capture_output=True, text=True)
        assert done.returncode == 0
        assert done.stdout.startswith(f"usage: {script} --")
