"""The MindSpore cells of the cases, by what they are about."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from cross_check.cells.subject import Subject

__all__ = ["Subject", "build"]


def build(name: str, args: Mapping[str, Any]) -> Subject:
    """Return the subject that `module:function` makes."""
    module, _, function = name.partition(":")
    cells = importlib.import_module(f"cross_check.cells.{module}")
    subject: Subject = getattr(cells, function)(**args)
    return subject
