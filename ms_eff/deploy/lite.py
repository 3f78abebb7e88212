"""MindSpore Lite 2.0.0, Huawei's deployment runtime, on a CPU: convert ONNX files and run them.

Its wheel is for Python 3.7, but holds the converter and the runtime as C++ libraries. `make lite`
fetches and unpacks it into `.lite`; the programs of `ascend_scripts/infer_310` are built against it
when first needed: the same that run on an Ascend 310.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ms_eff.deploy.operators import ExportError
from ms_eff.errors import SetupError

__all__ = ["Lite", "build_programs"]

_SOURCES = Path(__file__).resolve().parents[2] / "ascend_scripts" / "infer_310"
_FOLDER = "MS_EFF_LITE"  # variable that names another folder than ./.lite


class Lite:
    """The converter and the runtime.

    Args:
        folder: where the wheel was unpacked; `MS_EFF_LITE`, or else `.lite`, if None.

    Attributes:
        folder: where it is.
        application: the program `infer_310`.

    Raises:
        SetupError: the wheel is not there, or no CMake or C++ compiler.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        root = Path(folder or os.environ.get(_FOLDER) or ".lite").resolve()
        self._wheel = root / "mindspore_lite"
        if not (self._wheel / "lib").is_dir():
            raise SetupError(
                f"{root}: no MindSpore Lite there; `make lite` fetches it (160 MB), or name its "
                f"folder in {_FOLDER}"
            )
        self.folder = root
        programs = build_programs(root, ("infer_310", "lite_convert"), root)
        self.application, self._converter = programs

    def convert(self, source: str | Path, target: str | Path) -> Path:
        """Convert an ONNX file to MindIR of this runtime; return the file.

        Raises:
            ExportError: the converter refuses the network; the message holds what it says.
        """
        stem = Path(target).resolve().with_suffix("")
        files = f"--modelFile={Path(source).resolve()}", f"--outputFile={stem}"
        done = self.call(self._converter, *files)
        made = stem.with_suffix(".mindir")
        if done.returncode or not made.exists():
            raise ExportError(
                f"{Path(source).name}: MindSpore Lite's converter refuses it ({_reason(done)}); "
                "write the network with operators that it knows"
            )
        return made

    def run(self, model: str | Path, inputs: np.ndarray) -> np.ndarray:
        """Return the first output, float32, of a converted network with one input.

        Args:
            model: a file of `convert`.
            inputs: (N, ...) samples of the shape that was exported, in the network's type.

        Raises:
            ExportError: the runtime cannot build or run it.
        """
        with tempfile.TemporaryDirectory() as folder:
            given, found = Path(folder, "in"), Path(folder, "out")
            given.mkdir()
            names = [f"{index:06d}.npy" for index in range(len(inputs))]
            for name, sample in zip(names, inputs, strict=True):
                np.save(given / name, np.ascontiguousarray(sample))
            done = self.call(
                self.application,
                *("--model", str(Path(model).resolve()), "--input", str(given)),
                *("--output", str(Path(folder, "out.csv")), "--outputs", str(found)),
                *("--on-bad-file", "fail", "--warmup", "0"),
            )
            if done.returncode:
                raise ExportError(
                    f"{Path(model).name}: MindSpore Lite cannot run it ({_reason(done)}); convert "
                    "it again, with inputs of the exported shape"
                )
            return np.stack([np.load(found / name) for name in names])

    def call(self, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the programs with the libraries it needs; return what it said."""
        libraries = str(self._wheel / "lib")
        return subprocess.run(
            [str(program), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "LD_LIBRARY_PATH": libraries, "GLOG_v": "2"},
            cwd=tempfile.gettempdir(),  # the converter leaves files where it is started
        )


def build_programs(
    folder: Path, names: Sequence[str], lite: Path | None = None, *, pictures: bool = False
) -> list[Path]:
    """Build programs of `ascend_scripts/infer_310` with CMake, once for each state of the sources.

    Args:
        folder: where to keep them.
        names: of the programs.
        lite: where MindSpore Lite was unpacked; without it `check_inputs` only.
        pictures: use OpenCV if it is there.

    Raises:
        SetupError: no sources, CMake or compiler; or they say what is wrong.
    """
    if not (_SOURCES / "CMakeLists.txt").is_file():
        raise SetupError(f"{_SOURCES}: not there; it comes with the repository, not the package")
    for tool, package in (("cmake", "cmake"), ("c++", "g++")):
        if shutil.which(tool) is None:
            raise SetupError(f"{tool}: the C++ programs are built with it; install {package}")
    parts = [*sorted(_SOURCES.glob("*.cpp")), *sorted(_SOURCES.glob("*.h"))]
    content = b"".join(part.read_bytes() for part in [*parts, _SOURCES / "CMakeLists.txt"])
    kept = folder / f"programs-{hashlib.sha256(content + bytes([pictures])).hexdigest()[:12]}"
    found = [kept / name for name in names]
    if all(program.exists() for program in found):
        return found
    with tempfile.TemporaryDirectory() as scratch:
        options = [f"-DCMAKE_DISABLE_FIND_PACKAGE_OpenCV={'OFF' if pictures else 'ON'}"]
        options += [f"-DMINDSPORE_LITE_ROOT={lite}"] if lite else []
        _built(["cmake", "-S", str(_SOURCES), "-B", scratch, *options])
        _built(["cmake", "--build", scratch, "--target", *names])
        kept.mkdir(parents=True, exist_ok=True)
        for program in found:
            part = program.with_name(f"{program.name}.{os.getpid()}.partial")
            shutil.copy2(Path(scratch, program.name), part)
            os.replace(part, program)  # whole or not there, for those who build beside us
    return found


def _built(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "rror" in line]
        reason = lines[0].strip() if lines else _reason(done)
        raise SetupError(f"{' '.join(command[:2])}: the C++ programs cannot be built: {reason}")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return in one line what went wrong: the first logged error, and the node it was met at."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    logged = [line.rpartition("] ")[2] for line in lines if line.startswith("[ERROR]")]
    logged = logged[:1] + [line for line in logged[1:] if "node" in line][:1]
    return ", ".join(logged or lines[-1:] or [f"exit code {done.returncode}"])
