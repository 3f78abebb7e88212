"""The accuracy experiment of video networks as settings: variants, sizes, the config of each run.

Imports no MindSpore.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ms_eff.bench.rows import Kind
from ms_eff.config import Config
from ms_eff.methods.spatiotemporal.core import VARIANTS
from ms_eff.section import Section

__all__ = ["KIND", "ROWS", "SIZES", "Case", "Size", "cases", "make_config"]

Count = Annotated[int, Field(ge=1)]
Task = Literal["direction", "reversal"]

KIND = Kind("video_accuracy", ("task", "seed", "variant"), growing=("tasks", "seeds", "variants"))
# row -> settings of the method
ROWS: dict[str, dict[str, Any]] = {
    **{variant: {"variant": variant} for variant in VARIANTS},
    "add, aligned": {"variant": "add", "aligned": True},
    "cat, aligned": {"variant": "cat", "aligned": True},
}
_BATCH, _LR = 32, 2e-3  # the rate follows the batch


class Size(Section):
    """How large the experiment is.

    Attributes:
        tasks: see `ms_eff.data.motion`; with the epochs of every variant.
        seeds: each gives weights, order of the data, and where clips start.
        variants: of `ROWS`.
        train_clips: None: one of each picture.
        test_clips: likewise.
        frames: T.
        width: of `eco_lite_small`.
        batch_size: clips a step.
    """

    tasks: dict[Task, Count] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field((0, 1), min_length=1)
    variants: tuple[str, ...] = Field(tuple(ROWS), min_length=1)
    train_clips: Count | None
    test_clips: Count | None
    frames: Count = 16
    width: Count = 12
    batch_size: Count = 32

    @field_validator("variants")
    @classmethod
    def _known(cls, variants: tuple[str, ...]) -> tuple[str, ...]:
        for name in variants:
            if name not in ROWS:
                raise ValueError(f"unknown variant '{name}'; known: {', '.join(ROWS)}")
        return variants


# hour: an epoch of 2048 clips takes 50 to 120 s on one core, by machine and variant, so one and a
# half to three hours on two, a seed on each; after 3 epochs of `direction` networks differ by how
# fast they learn, after 8 they have learned
SIZES = {
    "quick": Size(
        tasks={"reversal": 1}, seeds=(0,), train_clips=256, test_clips=128, frames=8, width=6
    ),
    "hour": Size(tasks={"direction": 8, "reversal": 1}, train_clips=2048, test_clips=1000),
    "full": Size(
        tasks={"direction": 20, "reversal": 10}, seeds=(0, 1, 2), train_clips=None,
        test_clips=None, width=48,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row: which task, seed and variant."""

    task: Task
    seed: int
    variant: str

    @property
    def folder(self) -> Path:
        """Where its run lies, below the folder of all runs.

        >>> Case("direction", 0, "add, aligned").folder.as_posix()
        'direction/seed0/add_aligned'
        """
        return Path(self.task, f"seed{self.seed}", self.variant.replace(", ", "_"))


def cases(size: Size) -> Iterator[Case]:
    """Give all rows, seed by seed, so that an experiment stopped early still compares variants."""
    for seed in size.seeds:
        for task in size.tasks:
            for variant in size.variants:
                yield Case(task, seed, variant)


def make_config(case: Case, size: Size, data: Mapping[str, Any], output: Path) -> Config:
    """Return the config of a row's run; those of a seed and task differ in the variant only.

    Args:
        case: the row.
        size: of the experiment.
        data: the `data` block's `name` and `root`.
        output: folder of the run.
    """
    epochs = size.tasks[case.task]
    return Config(
        output=output,
        seed=case.seed,
        model={"name": "eco_lite_small", "width": size.width},
        data={
            **data,
            "task": case.task,
            "frames": size.frames,
            "batch_size": size.batch_size,
            "train_limit": size.train_clips,
            "test_limit": size.test_clips,
        },
        train={
            "optimizer": "adamw",
            "lr": _LR * size.batch_size / _BATCH,
            "weight_decay": 0.01,
            "schedule": "cosine",
            "warmup_epochs": 0.5,
            "epochs": epochs,
            "eval_every": epochs,
            "keep": 1,
        },
        methods=({"spatiotemporal": ROWS[case.variant]},),
    )
