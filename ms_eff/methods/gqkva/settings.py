"""What a user may ask of grouped attention; imports no MindSpore."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from ms_eff.models.heads import Groups, check_groups
from ms_eff.section import Section

__all__ = ["GQKVASettings"]


class GQKVASettings(Section):
    """Let attention heads share queries, or keys and values, or both (arXiv:2311.03426).

    Attributes:
        kind: `mha` (nothing shared), `mqa` (one key and value), `gqa` (`groups` of them), `mkva`
            (one query), `gkva` (`groups` of them), `gqkva` (both).
        groups: `gqa`: number of keys; `gkva`: of queries; both divide the heads. `gqkva`: those of
            queries and of keys, whose product is the number of heads. The others take none.
        include: only attention cells that match one of these name patterns (as in a shell).
    """

    kind: Literal["mha", "mqa", "gqa", "mkva", "gkva", "gqkva"]
    groups: Groups = None
    include: tuple[str, ...] = ("*",)

    @model_validator(mode="after")
    def _as_many_groups_as_it_takes(self) -> Self:
        check_groups(self.kind, self.groups)
        return self
