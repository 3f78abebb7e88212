"""The distillation experiment as settings: kinds, sizes, and the config of each run.

Imports no MindSpore.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ms_eff.bench import sst2
from ms_eff.bench.rows import Kind
from ms_eff.config import Config
from ms_eff.section import Section

__all__ = ["KIND", "METHODS", "PLAIN", "SIZES", "TEACHER", "Case", "Size", "cases", "make_config"]

Count = Annotated[int, Field(ge=1)]

KIND = Kind("distillation", ("seed", "method"))

TEACHER, PLAIN = "teacher", "fine-tuning"
# settings of the method; the first two are without it
METHODS: dict[str, dict[str, Any] | None] = {
    TEACHER: None,
    PLAIN: None,
    "label smoothing": {"kind": "label_smoothing"},
    "TF-reg": {"kind": "tf_reg"},
    "self-KD": {"kind": "self"},
    "vanilla KD": {"kind": "vanilla"},
    "RAIL-KD": {"kind": "rail"},
    "annealing-KD": {"kind": "annealing"},
    "MATE-KD": {"kind": "mate"},
}


class Size(Section):
    """How large the experiment is.

    Attributes:
        seeds: each gives weights of the head, order of the data, dropout and draws.
        train_samples: evenly over the classes; None: all.
        test_samples: likewise, of each evaluation.
        batch_size: samples a step.
        teacher_epochs: of the teacher.
        epochs: of every student; of annealing's, three quarters are on logits.
        keep: blocks of the student.
        rule: which ones it keeps of the pre-trained network's six.
        warmup_steps: of MATE's generator.
    """

    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field(min_length=1)
    train_samples: Count | None
    test_samples: Count | None
    batch_size: Count = 32
    teacher_epochs: Count = 3
    epochs: int = Field(4, ge=2)
    keep: Count = 3
    rule: Literal["uniform", "bottom", "top"] = "uniform"
    warmup_steps: int = Field(100, ge=0)


SIZES: dict[str, Size] = {
    "quick": Size(
        seeds=(0,), train_samples=64, test_samples=64, batch_size=16, teacher_epochs=1, epochs=2,
        warmup_steps=2,
    ),
    "hour": Size(seeds=(1, 2), train_samples=2400, test_samples=None),
    # what a step takes, on a machine left alone: epochs of 50 steps
    "timing": Size(seeds=(1,), train_samples=1600, test_samples=64),
    "full": Size(seeds=(1, 2, 3), train_samples=None, test_samples=None, warmup_steps=400),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row: which seed and method."""

    seed: int
    method: str

    @property
    def folder(self) -> Path:
        """Where its run lies, below the folder of all runs.

        >>> Case(1, "vanilla KD").folder.as_posix()
        'seed1/vanilla_KD'
        """
        return Path(f"seed{self.seed}", self.method.replace(" ", "_"))

    @property
    def teacher(self) -> Case | None:
        """Return the row whose network teaches this one, if one does.

        >>> Case(1, "self-KD").teacher
        Case(seed=1, method='fine-tuning')
        """
        kind = (METHODS[self.method] or {}).get("kind")
        if kind is None or kind in ("label_smoothing", "tf_reg"):
            return None
        return Case(self.seed, PLAIN if kind == "self" else TEACHER)


def cases(size: Size) -> Iterator[Case]:
    """Give all rows, seed by seed, teachers first."""
    for seed in size.seeds:
        for method in METHODS:
            yield Case(seed, method)


def make_config(case: Case, size: Size, where: Mapping[str, Path], work: Path) -> Config:
    """Return the config of a row's run; the students of a seed differ in distillation only.

    Args:
        case: the row.
        size: of the experiment.
        where: `data`, the folder of SST-2, and `minilm`, that of the network's files.
        work: folder of all runs.
    """
    blocks = sst2.blocks(where)
    settings = METHODS[case.method]
    methods: list[dict[str, Any]] = []
    if case.method != TEACHER:
        methods.append({"truncation": {"keep": size.keep, "rule": size.rule}})
    if settings is not None:
        extra: dict[str, Any] = {}
        if case.teacher is not None:
            extra["teacher"] = str(work / case.teacher.folder)
        if settings["kind"] == "mate":
            extra["generator"] = {"warmup_steps": size.warmup_steps}
        methods.append({"distillation": {**settings, **extra}})
    limits = {"train_limit": size.train_samples, "test_limit": size.test_samples}
    epochs = size.teacher_epochs if case.method == TEACHER else size.epochs
    # the others are evaluated at the end only; annealing goes on from its best epoch
    every = 1 if settings == {"kind": "annealing"} else epochs
    return Config(
        output=work / case.folder,
        seed=case.seed,
        device=blocks["device"],
        model=blocks["model"],
        data={**blocks["data"], **limits, "batch_size": size.batch_size, "drop_last": False},
        train={**blocks["train"], "epochs": epochs, "eval_every": every, "keep": 1},
        methods=tuple(methods),
    )
