"""A family that kills itself: `python -m tests.faults.killed_family PARENT OUTPUT N`.

It does so behind its Nth rename, or not at all if N is 0: with a rename, a file or a folder becomes
whole.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from ms_eff import runtime

runtime.prepare_cpu()

from ms_eff.methods.progressive.family import Family  # noqa: E402  (the environment comes first)
from tests.methods.progressive.conftest import family_config  # noqa: E402

METHOD = {"ratios": [1.25, 2.0], "tokens": 64, "step": "joint"}


def family(parent: Path, output: Path) -> Family:
    """Return a family that is calibrated, truncated, trained and judged, twice."""
    return Family(family_config(parent, output, True, method=METHOD), console=Console(quiet=True))


def _killing(rename: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def renamed(*args: Any, **kwargs: Any) -> Any:
        result = rename(*args, **kwargs)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return renamed


if __name__ == "__main__":
    made, counted = family(Path(sys.argv[1]), Path(sys.argv[2])), [int(sys.argv[3])]
    os.replace, os.rename = _killing(os.replace, counted), _killing(os.rename, counted)
    made.run()
