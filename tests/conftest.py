"""Every test runs in graph mode on the CPU, with the kernel choice that `ms_eff` itself makes."""

from __future__ import annotations

from ms_eff import runtime

runtime.prepare_cpu()

import mindspore as ms  # noqa: E402  (the environment must be set first)

ms.set_context(mode=ms.GRAPH_MODE)
