"""A measurement in a process of its own, so that neither caches nor memory of another one count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ms_eff.errors import VerificationError
from ms_eff.runtime import ISA_VARIABLE, cpu_has_avx512

__all__ = ["isa_variables", "measured_apart"]


def isa_variables(isa: str) -> dict[str, str]:
    """Return this process's environment, MindSpore quiet and oneDNN's instruction set chosen anew.

    Args:
        isa: `native`, or `auto` as in `ms_eff.runtime.DeviceSettings`.
    """
    variables = {**os.environ, "GLOG_v": "3"}
    if isa == "native":
        variables.pop(ISA_VARIABLE, None)
    elif cpu_has_avx512():
        variables[ISA_VARIABLE] = "AVX2"
    return variables


def measured_apart(
    what: str, module: str, arguments: Sequence[str], variables: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run `python -m module arguments` and return the JSON object it prints last.

    Args:
        what: is measured, for messages.
        module: to run.
        arguments: of its command line.
        variables: its environment; this process's if None.

    Raises:
        VerificationError: it failed; the message holds its last line.
    """
    command = [sys.executable, "-m", module, *arguments]
    # never what C holds by itself: MindSpore's import puts OMP_NUM_THREADS=1 there
    environment = os.environ if variables is None else variables
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise VerificationError(f"{what}: could not be measured: {last}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
