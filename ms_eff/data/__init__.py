"""Data sets as splits that give whole batches on request; `pipeline` feeds them to MindSpore."""

from __future__ import annotations

from ms_eff.data.base import DataSet, Split
from ms_eff.data.order import steps_per_epoch
from ms_eff.data.registry import build
from ms_eff.data.settings import DataSettings

__all__ = ["DataSet", "DataSettings", "Split", "build", "steps_per_epoch"]
