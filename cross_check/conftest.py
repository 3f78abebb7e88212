"""As the tests: the CPU kernels are chosen before MindSpore starts."""

from __future__ import annotations

import importlib.util

from ms_eff import runtime

runtime.prepare_cpu()

# the torch side is looked through for doctests as well; without torch it cannot be imported
if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["replay.py", "retrain.py", "twins/*.py"]
