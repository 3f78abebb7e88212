"""`ms-eff doctor`: versions, device, CPU kernels; what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ms_eff import __version__, runtime

__all__ = ["checkup"]

# distribution -> (wanted, what for, how to get it)
WANTED = {
    "mindspore": ("2.9.0", "everything", "pip install mindspore==2.9.0"),
    "numpy": ("1.26", "mindspore needs numpy 1.x", "pip install 'numpy<2'"),
    "onnxruntime": ("1.", "verifying ONNX exports", "pip install onnxruntime"),
    "safetensors": ("0.", "checkpoints", "pip install safetensors"),
    "scikit-learn": ("1.", "the embedded digits", "pip install scikit-learn"),
    "mindformers": ("1.9.0", "language models (optional)", "pip install 'ms_eff[llm]'"),
    "matplotlib": ("3.", "reports (optional)", "pip install 'ms_eff[report]'"),
    "opencv-python-headless": ("4.", "video files (optional)", "pip install 'ms_eff[video]'"),
    "torch": ("2.13.0", "cross checks, .pth files (optional)", "pip install 'ms_eff[cross-check]'"),
}


def checkup() -> Group:
    """Return all findings, ready to print."""
    title = f"ms_eff {__version__} · Python {platform.python_version()} · {platform.platform()}"
    return Group(Text(title), _packages(), _cpu(), _ascend())


def _packages() -> Table:
    table = Table("package", "found", "wanted", "for", "remedy", box=None, pad_edge=False)
    for name, (wanted, purpose, remedy) in WANTED.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "missing"
        good = found.startswith(wanted)
        shown = wanted if wanted.count(".") == 2 else f"{wanted.rstrip('.')}.x"
        table.add_row(
            name, Text(found, "green" if good else "red"), shown, purpose, "" if good else remedy
        )
    return table


def _cpu() -> Text:
    given = os.environ.get(runtime.ISA_VARIABLE)
    avx512 = runtime.cpu_has_avx512()
    text = f"CPU: {runtime.describe_cpu()}, {os.cpu_count()} cores, AVX-512: "
    text += "yes" if avx512 else "no"
    if given:
        why = f"{runtime.ISA_VARIABLE}={given} is set in your environment and stays so."
    elif avx512:
        why = (
            f"ms-eff sets {runtime.ISA_VARIABLE}=AVX2 for its runs: with AVX-512, oneDNN picks a "
            "reference kernel for k x k convolutions that is some 50 times slower. Plain matrix "
            "products lose up to 45 %: for networks without convolutions use device.isa=native."
        )
    else:
        why = "no AVX-512, so oneDNN's convolutions are fast as they are."
    return Text(f"{text}\nkernels: {why}")


def _ascend() -> Text:
    boards = sorted(p.name for p in Path("/dev").glob("davinci[0-9]*"))
    if not boards:
        return Text(
            "Ascend: no board here (/dev/davinci* is absent): runs go to the CPU. On a board, "
            "install driver, firmware and CANN first, then mindspore==2.9.0"
        )
    tool = "found" if shutil.which("atc") else "not in PATH: source CANN's set_env.sh"
    return Text(f"Ascend: {', '.join(boards)}; atc {tool}")
