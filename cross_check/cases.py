"""All cases."""

from __future__ import annotations

from cross_check.case import Case, Inputs, Twin
from cross_check.tables.clips import CLIPS
from cross_check.tables.distillation import DISTILLATION
from cross_check.tables.language import LANGUAGE
from cross_check.tables.lowrank import LOWRANK
from cross_check.tables.progressive import PROGRESSIVE
from cross_check.tables.small_data import SMALL_DATA
from cross_check.tables.vision import VISION

__all__ = ["CASES", "Case", "Inputs", "Twin"]

CASES: tuple[Case, ...] = (
    *VISION,
    *LANGUAGE,
    *LOWRANK,
    *PROGRESSIVE,
    *CLIPS,
    *SMALL_DATA,
    *DISTILLATION,
)
