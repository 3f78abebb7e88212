"""The experiment on truncated GPT-2 as settings; imports no MindSpore."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from ms_eff.bench.rows import Kind
from ms_eff.methods.truncation.core import RULES, chosen_blocks
from ms_eff.section import Section

__all__ = ["ARMS", "KIND", "SCRATCH", "SIZES", "TEACHER", "Case", "Size", "cases", "peak_lr"]

Count = Annotated[int, Field(ge=1)]

KIND = Kind("gpt2_truncation", ("arm", "seed"))

TEACHER, SCRATCH = "teacher", "from scratch"
# students, in the order of the paper's table; the last one begins with new weights
ARMS = (*RULES, SCRATCH)


class Size(Section):
    """How large the experiment is.

    Attributes:
        vocab: tokens of the byte-level BPE that is trained on the text.
        dim: channels of a token.
        depth: blocks of the teacher.
        keep: blocks of the students.
        heads: attention heads.
        block: tokens of a sample, and of a window of the test.
        batch: blocks a step.
        teacher_steps: of the teacher's training.
        steps: of every student's, those from scratch included.
        lr: peak learning rate of new weights: the teacher's and those from scratch.
        tuning_lr: of truncated students.
        test_share: the end of every text that is kept for the test.
        test_blocks: of it, from the start; None: all.
        seeds: of the students: random blocks, new weights, and which blocks of text they see.
    """

    vocab: int = Field(gt=256)
    dim: Count
    depth: int = Field(12, ge=2)
    keep: int = Field(6, ge=1)
    heads: Count
    block: int = Field(ge=8)
    batch: Count
    teacher_steps: Count
    steps: Count
    lr: float = Field(1e-3, gt=0)
    tuning_lr: float = Field(5e-4, gt=0)
    test_share: float = Field(0.03, gt=0, lt=1)
    test_blocks: Count | None = None
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field((0, 1, 2), min_length=1)

    @model_validator(mode="after")
    def _every_rule_has_an_answer(self) -> Size:
        for rule in RULES:
            chosen_blocks(self.depth, self.keep, rule)
        return self


SIZES = {
    "quick": Size(
        vocab=512, dim=32, heads=2, block=32, batch=8, teacher_steps=30, steps=10, test_blocks=32,
        seeds=(0,),
    ),
    "hour": Size(
        vocab=4096, dim=128, heads=4, block=128, batch=16, teacher_steps=3000, steps=400
    ),
    # GPT-2 small's own numbers, for a machine with an accelerator and a text of its size
    "full": Size(
        vocab=50257, dim=768, heads=12, block=1024, batch=32, teacher_steps=100_000, steps=20_000,
        lr=6e-4, tuning_lr=3e-4,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row: a network, and the seed of its training."""

    arm: str
    seed: int

    @property
    def folder(self) -> Path:
        """Where its run lies, below the folder of all runs.

        >>> Case("from scratch", 1).folder.as_posix()
        'seed1/from_scratch'
        """
        if self.arm == TEACHER:
            return Path(TEACHER)
        return Path(f"seed{self.seed}", self.arm.replace(" ", "_"))


def cases(size: Size) -> Iterator[Case]:
    """Give the teacher, then the students seed by seed, so that a part still compares rules."""
    yield Case(TEACHER, 0)
    for seed in size.seeds:
        for arm in ARMS:
            yield Case(arm, seed)


def peak_lr(case: Case, size: Size) -> float:
    """Return the learning rate of a row: new weights take more."""
    return size.lr if case.arm in (TEACHER, SCRATCH) else size.tuning_lr
