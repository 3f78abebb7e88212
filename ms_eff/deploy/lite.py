"""MindSpore Lite 2.0.0, Huawei's deployment runtime, on a CPU: convert ONNX files and run them.

Its wheel is for Python 3.7, but holds the converter and the runtime as C++ libraries. `make lite`
fetches and unpacks it into `.lite`; a small program (`lite_runner.cpp`) is compiled against it when
first needed. The same runtime, with another device, is what runs on an Ascend 310.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from ms_eff.deploy.operators import ExportError
from ms_eff.errors import SetupError

__all__ = ["Lite"]

_SOURCE = Path(__file__).with_name("lite_runner.cpp")
_FOLDER = "MS_EFF_LITE"  # variable that names another folder than ./.lite


class Lite:
    """The converter and the runtime.

    Args:
        folder: where the wheel was unpacked; `MS_EFF_LITE`, or else `.lite`, if None.

    Raises:
        SetupError: the wheel is not there, or no C++ compiler.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        root = Path(folder or os.environ.get(_FOLDER) or ".lite").resolve()
        self._wheel = root / "mindspore_lite"
        if not (self._wheel / "lib").is_dir():
            raise SetupError(
                f"{root}: no MindSpore Lite there; `make lite` fetches it (160 MB), or name its "
                f"folder in {_FOLDER}"
            )
        self._program = self._compiled(root)

    def convert(self, source: str | Path, target: str | Path) -> Path:
        """Convert an ONNX file to MindIR of this runtime; return the file.

        Raises:
            ExportError: the converter refuses the network; the message holds what it says.
        """
        stem = Path(target).resolve().with_suffix("")
        done = self._call("convert", str(Path(source).resolve()), str(stem))
        made = stem.with_suffix(".mindir")
        if done.returncode or not made.exists():
            raise ExportError(
                f"{Path(source).name}: MindSpore Lite's converter refuses it ({_reason(done)}); "
                "write the network with operators that it knows"
            )
        return made

    def run(self, model: str | Path, inputs: np.ndarray) -> np.ndarray:
        """Return the float32 outputs, flat, of a converted network with one input.

        Args:
            model: a file of `convert`.
            inputs: of the shape that was exported.

        Raises:
            ExportError: the runtime cannot build or run it.
        """
        with tempfile.TemporaryDirectory() as folder:
            given, found = Path(folder, "in.bin"), Path(folder, "out.bin")
            np.ascontiguousarray(inputs, np.float32).tofile(given)
            done = self._call("run", str(Path(model).resolve()), str(given), str(found))
            if done.returncode or not found.exists():
                raise ExportError(
                    f"{Path(model).name}: MindSpore Lite cannot run it ({_reason(done)}); convert "
                    "it again, with inputs of the exported shape"
                )
            return np.fromfile(found, np.float32)

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        libraries = str(self._wheel / "lib")
        return subprocess.run(
            [str(self._program), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "LD_LIBRARY_PATH": libraries, "GLOG_v": "2"},
            cwd=tempfile.gettempdir(),  # the converter leaves files where it is started
        )

    def _compiled(self, root: Path) -> Path:
        version = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
        program = root / f"lite_runner-{version}"
        if program.exists():
            return program
        compiler = shutil.which("c++") or shutil.which("g++")
        if compiler is None:
            raise SetupError("c++: MindSpore Lite is reached through a C++ program; install g++")
        libraries = [f"-l:{name}" for name in (
            "libmindspore-extendrt_python.so", "libmindspore_converter.so", "libmindspore_core.so",
        )]  # fmt: skip
        command = [
            compiler, "-std=c++17", "-O1", str(_SOURCE), "-o", f"{program}.new",
            f"-I{self._wheel}", f"-I{self._wheel / 'include'}", f"-L{self._wheel / 'lib'}",
            *libraries, "-Wl,--allow-shlib-undefined",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SetupError(f"{_SOURCE.name}: cannot be compiled: {_reason(done)}")
        os.replace(f"{program}.new", program)
        return program


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return in one line what went wrong: the first logged error, and the node it was met at."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    logged = [line.rpartition("] ")[2] for line in lines if line.startswith("[ERROR]")]
    logged = logged[:1] + [line for line in logged[1:] if "node" in line][:1]
    return ", ".join(logged or lines[-1:] or [f"exit code {done.returncode}"])
