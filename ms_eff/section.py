"""The base class of every block of settings in a config."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Section"]


class Section(BaseModel):
    """A block of settings: unknown keys are refused, values are checked once, then frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
