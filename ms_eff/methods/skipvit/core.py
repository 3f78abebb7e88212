"""The arithmetic of token skipping, and its plan; imports no MindSpore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ms_eff.errors import PlanError

__all__ = ["FORMAT", "Route", "block_macs", "ideal_gain"]

FORMAT = "ms_eff.skipvit/1"


@dataclass(frozen=True)
class Route:
    """Which tokens go where; all sizes are fixed, so that every graph is static.

    Attributes:
        patches: patch tokens of an image, N.
        dropped: how many of them skip.
        score_block: the last block before the split.
        merge_block: the first block after the merge.
        score: `cls_attention` or `random`.
        inference: whether tokens skip at inference too.
        seed: of random scores.
    """

    patches: int
    dropped: int
    score_block: int
    merge_block: int
    score: str
    inference: bool
    seed: int = 0

    @property
    def kept(self) -> int:
        """Patch tokens that stay, K; the class token stays besides."""
        return self.patches - self.dropped

    def check(self, patches: int, depth: int) -> None:
        """Raise PlanError unless a network of so many patches and blocks can take it."""
        if patches != self.patches or not 0 <= self.dropped < patches:
            raise PlanError(
                f"drop: {self.dropped} of {self.patches} patches skip, but an image has "
                f"{patches}; at least one must stay"
            )
        if self.merge_block > depth:
            raise PlanError(
                f"merge_block: {self.merge_block} is beyond the network's {depth} blocks; "
                f"{depth} merges after the last"
            )

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Route:
        """Return the route that `to_json` wrote; raises PlanError if it is none."""
        fields = dict(values)
        if fields.pop("format", None) != FORMAT:
            raise PlanError(f"plan: format = {values.get('format')!r}: expected '{FORMAT}'")
        try:
            return cls(**fields)
        except TypeError as error:
            raise PlanError(f"plan: not a route ({error})") from error


def block_macs(tokens: int, dim: int) -> int:
    """Return the multiply-accumulates of one block: 12 n D^2 + 2 n^2 D.

    >>> round(block_macs(197, 384) / 1e6, 1), round(block_macs(89, 384) / 1e6, 1)
    (378.4, 163.6)
    """
    return 12 * tokens * dim**2 + 2 * tokens**2 * dim


def ideal_gain(macs: int, reduced: int, tokens: int, dropped: int, dim: int) -> float:
    """Return the gain in throughput if time were proportional to the work.

    Args:
        macs: multiply-accumulates of the whole network for one image, nothing dropped.
        reduced: blocks that only the kept tokens run through.
        tokens: of an image, the class token included.
        dropped: of these.
        dim: channels of a token.

    ViT-S/16 at 224 with 55 % of its patches dropped in 1, 2, 3 or 6 blocks:

    >>> [round(100 * ideal_gain(4_598_882_304, m, 197, 108, 384), 2) for m in (1, 2, 3, 6)]
    [4.9, 10.31, 16.3, 38.94]
    """
    saved = reduced * (block_macs(tokens, dim) - block_macs(tokens - dropped, dim))
    return macs / (macs - saved) - 1
