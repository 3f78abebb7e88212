"""Where a results file's figures were measured, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ms_eff.report.numbers import MISSING

__all__ = ["where"]


def where(call: Mapping[str, Any]) -> str:
    """Return device, cores, version and day of a call.

    Args:
        call: as `ms_eff.bench.environment.describe` returns it.

    >>> versions = {"mindspore": "2.9.0"}
    >>> where({"device": "a CPU", "cores": 2, "versions": versions, "date": "2026-01-02T03:04"})
    'a CPU, 2 cores, MindSpore 2.9.0, 2026-01-02'
    """
    cores = f", {call['cores']} core{'s' * (call['cores'] > 1)}" if call["cores"] else ""
    version = call["versions"].get("mindspore", MISSING)
    return f"{call['device']}{cores}, MindSpore {version}, {call['date'][:10]}"
