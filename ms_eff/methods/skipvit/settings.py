"""What a user may ask of token skipping; imports no MindSpore."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ms_eff.section import Section

__all__ = ["SkipViTSettings"]

# of a ViT with 12 blocks: three reduced blocks, whose ideal gain brackets the paper's
_PAPER_LIKE = {"score_block": 7, "merge_block": 11}


class SkipViTSettings(Section):
    """Send unimportant patch tokens past some blocks of a ViT (arXiv:2401.15293).

    What the paper's abstract and introduction leave open, blocks and warm-up among it, is ours.

    Attributes:
        drop: share of the patches that skip.
        score_block: the last block before the split; its attention scores the patches.
        merge_block: the block before which all tokens are together again; as many as the network
            has blocks never brings the skipped ones back to the class token (plain dropping).
        warmup: share of the epochs that train without skipping.
        score: `cls_attention`, how much the class token attends to a patch, or `random`, as
            random-LTD (arXiv:2211.11586) has it.
        inference: `routed` skips at inference too, `dense` does not. By default `routed`, but
            `dense` with random scores.
        preset: `paper_like`: three reduced blocks of twelve, in place of the block numbers.
    """

    drop: float = Field(0.55, ge=0, lt=1)
    score_block: int = Field(5, ge=0)
    merge_block: int = Field(11, ge=2)
    warmup: float = Field(0.1, ge=0, le=1)
    score: Literal["cls_attention", "random"] = "cls_attention"
    inference: Literal["routed", "dense"] | None = None
    preset: Literal["paper_like"] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        score, merge = self.blocks
        if merge < score + 2:
            raise ValueError(
                f"merge_block = {merge}: at least one block must lie between it and "
                f"score_block = {score}"
            )
        if self.score == "random" and self.inference == "routed":
            raise ValueError("inference: random scores give other logits each time; use dense")
        beside = sorted(self.model_fields_set & set(_PAPER_LIKE))
        if self.preset is not None and beside:
            raise ValueError(f"preset: {self.preset} sets the blocks; drop {', '.join(beside)}")
        return self

    @property
    def blocks(self) -> tuple[int, int]:
        """The score block and the merge block, a preset taken into account.

        >>> SkipViTSettings(preset="paper_like").blocks
        (7, 11)
        """
        if self.preset is not None:
            return _PAPER_LIKE["score_block"], _PAPER_LIKE["merge_block"]
        return self.score_block, self.merge_block

    @property
    def routed_inference(self) -> bool:
        """Whether tokens skip at inference too."""
        return self.inference == "routed" or (
            self.inference is None and self.score == "cls_attention"
        )
