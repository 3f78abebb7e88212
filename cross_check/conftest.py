"""As the tests: the CPU kernels are chosen before MindSpore starts."""

from __future__ import annotations

from ms_eff import runtime

runtime.prepare_cpu()
