"""Command lines that the C++ programs and infer.py must refuse alike, and the one line they say."""

from __future__ import annotations

from pathlib import Path

from tests.ascend_scripts.bad_files import GOOD

_FROM_0 = "expected a whole number from 0 to 1000000"
_FROM_1 = "expected a whole number from 1 to 1000000"
_NUMBERS = "expected numbers such as 0.485,0.456,0.406"

# words, what is said of them after the program's name; `workplace` is where they are called
WRONG: list[tuple[list[str], str]] = [
    (["--top", "0"], f"--top: '0', {_FROM_1}"),
    (["--top", "1.5"], f"--top: '1.5', {_FROM_1}"),
    (["--top=1000001"], f"--top: '1000001', {_FROM_1}"),
    (["--warmup", "-3"], f"--warmup: '-3', {_FROM_0}"),
    (["--warmup=+3"], f"--warmup: '+3', {_FROM_0}"),
    (["--threads", "0"], f"--threads: '0', {_FROM_1}"),
    (["--batch", "0"], f"--batch: '0', {_FROM_1}"),
    (["--device-id", "-1"], f"--device-id: '-1', {_FROM_0}"),
    (["--device", "gpu"], "--device: 'gpu', expected cpu or ascend"),
    (["--on-bad-file", "stop"], "--on-bad-file: 'stop', expected skip or fail"),
    (["--mean", "nan"], f"--mean: 'nan', {_NUMBERS}"),
    (["--mean", "0.5,inf"], f"--mean: '0.5,inf', {_NUMBERS}"),
    (["--mean", "1e999"], f"--mean: '1e999', {_NUMBERS}"),
    (["--mean", "0x1"], f"--mean: '0x1', {_NUMBERS}"),
    (["--mean", "1_0"], f"--mean: '1_0', {_NUMBERS}"),
    (["--mean", " 1"], f"--mean: ' 1', {_NUMBERS}"),
    (["--mean", "0.5,"], f"--mean: '0.5,', {_NUMBERS}"),
    (["--mean", "1;2"], f"--mean: '1;2', {_NUMBERS}"),
    (["--std", "1,0"], "--std: '1,0', expected numbers above 0"),
    (["--std", "1e-999"], "--std: '1e-999', expected numbers above 0"),
    (
        ["--mean", "1,2,3", "--std", "1,2"],
        "--mean and --std: 3 and 2 numbers; give each one number, or one a channel",
    ),
    (["--help=yes"], "--help: it takes no value"),
    (["--input"], "--input: a value is missing (FOLDER)"),
    (["--input", "--mean", "1"], "--input: a value is missing (FOLDER)"),
    (["--input="], "--input: an empty value"),
    (["--inptu=x"], "'--inptu': no such flag; see --help"),
    (["x"], "'x': no such flag; see --help"),
    (
        ["--input", "missing"],
        "--input missing: No such file or directory; give a folder that can be read",
    ),
    (["--input", "file"], "--input file: Not a directory; give a folder that can be read"),
    (
        ["--input", "empty"],
        "--input empty: no .npy file and no picture in it (subfolders are not read)",
    ),
    (["--outputs", "in"], "--outputs in: that is the folder of --input; name another"),
    (
        ["--outputs", "file/a"],
        "--outputs file/a: cannot be written; choose a folder that takes it",
    ),
    (
        ["--outputs", "out", "--input", "twins"],
        "--outputs: a.png and a.png.npy would both become a.png.npy; rename one",
    ),
    (["--output", "in"], "--output in: a folder; name a file in it"),
    (
        ["--output", "no/a.csv"],
        "--output no/a.csv: cannot be written; choose a folder that takes it",
    ),
    (
        ["--output", "net.mindir"],
        "--output net.mindir: that is the file of --model; name another",
    ),
    (["--labels", "in"], "--labels in: cannot be read"),
    (["--model", "no.mindir"], "--model no.mindir: cannot be opened"),
    (["--model", "a.om"], "--model a.om: expected .mindir or .ms, as the converter writes them"),
]  # fmt: skip


def workplace(folder: Path) -> Path:
    """Make the files that the words name; return the folder."""
    for name in ("in", "empty", "twins"):
        (folder / name).mkdir()
    (folder / "in" / "a.npy").write_bytes(GOOD)
    for name in ("file", "net.mindir", "twins/a.png", "twins/a.png.npy"):
        (folder / name).touch()
    return folder
