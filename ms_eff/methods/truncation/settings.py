"""What a user may ask of layer truncation; imports no MindSpore."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ms_eff.errors import nearest
from ms_eff.methods.truncation.core import RULES
from ms_eff.section import Section

__all__ = ["TruncationSettings"]


class TruncationSettings(Section):
    """Keep some blocks of a deep network, copied whole (arXiv:2110.08460).

    Attributes:
        keep: how many blocks stay; left out where `rule` is a list.
        rule: `pseudo_uniform` (equal steps from both ends), `uniform` (equal steps from the first),
            `bottom` and `top` (over the lower, or the upper half), `random`; or a list of blocks,
            rising from 0.
        blocks: name of the list of blocks; left out, the one that holds most weights.
        seed: of `random`; left out, the run's.
    """

    keep: int | None = Field(None, ge=1)
    rule: (
        Literal["pseudo_uniform", "uniform", "bottom", "top", "random"]
        | tuple[Annotated[int, Field(ge=0)], ...]
    ) = "pseudo_uniform"
    blocks: str | None = None
    seed: int | None = Field(None, ge=0)

    @field_validator("rule", mode="before")
    @classmethod
    def _is_known(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in RULES:
            known = f"known: {', '.join(RULES)}, or a list of blocks"
            raise ValueError(f"there is no such rule{nearest(value, RULES)}; {known}")
        return value

    @model_validator(mode="after")
    def _says_how_many(self) -> Self:
        if self.keep is None and isinstance(self.rule, str):
            raise ValueError(f"keep is missing: rule {self.rule} needs to know how many stay")
        if self.seed is not None and self.rule != "random":
            raise ValueError("seed: only rule: random draws; drop it")
        return self
