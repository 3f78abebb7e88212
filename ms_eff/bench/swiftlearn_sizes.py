"""The data selection experiment as settings: policies, sizes, and the config of each run.

Imports no MindSpore.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ms_eff.bench import sst2
from ms_eff.bench.accuracy_runs import data_block
from ms_eff.bench.rows import Kind
from ms_eff.config import Config
from ms_eff.section import Section

__all__ = ["FULL", "KIND", "POLICIES", "SIZES", "TASKS", "Case", "Size", "cases", "make_config"]

Count = Annotated[int, Field(ge=1)]

KIND = Kind("swiftlearn", ("task", "seed", "policy", "keep"))

FULL = "full"
# settings of the method besides `keep` and `warmup_epochs`; `full` is without it
POLICIES: dict[str, dict[str, Any] | None] = {
    FULL: None,
    "swiftlearn topk": {"policy": "swiftlearn", "selection": "topk"},
    "swiftlearn sample": {"policy": "swiftlearn", "selection": "sample"},
    "random fixed": {"policy": "random_fixed"},
    "random fresh": {"policy": "random_fresh"},
    "infobatch": {"policy": "infobatch"},
}

# task -> policy -> shares to keep
TASKS: dict[str, dict[str, tuple[float, ...]]] = {
    "sst2": {
        "swiftlearn topk": (0.1, 0.3),
        "swiftlearn sample": (0.1,),
        "random fixed": (0.1,),
        "random fresh": (0.1, 0.3),
        "infobatch": (0.1,),
    },
    "cifar10": {policy: (0.5, 0.3) for policy in POLICIES if policy != FULL},
}
WARMUP = 2


class Size(Section):
    """How large the experiment is.

    Attributes:
        seeds: each gives weights of the head (or all), order of the data, and subsets.
        train_samples: evenly over the classes; None: all.
        test_samples: likewise, of each evaluation.
        batch_size: samples a step.
        epochs: of every run, two of them on everything.
        width: of the ResNet's first stage; the published one has 64.
    """

    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field(min_length=1)
    train_samples: Count | None
    test_samples: Count | None
    batch_size: Count
    epochs: int = Field(ge=3)
    width: Count = 16


# task -> name -> size
SIZES: dict[str, dict[str, Size]] = {
    "sst2": {
        "quick": Size(seeds=(0,), train_samples=96, test_samples=64, batch_size=16, epochs=3),
        # half of the sentences
        "hour": Size(seeds=(1, 2), train_samples=3460, test_samples=None, batch_size=32, epochs=10),
        "full": Size(seeds=(1, 2), train_samples=None, test_samples=None, batch_size=32, epochs=10),
    },
    "cifar10": {
        "quick": Size(
            seeds=(0,), train_samples=320, test_samples=200, batch_size=32, epochs=3, width=4
        ),
        "hour": Size(seeds=(1, 2), train_samples=4000, test_samples=None, batch_size=64, epochs=10),
        "full": Size(
            seeds=(1, 2, 3), train_samples=None, test_samples=None, batch_size=128, epochs=30
        ),
    },
}


@dataclass(frozen=True)
class Case:
    """One row: which task, seed, policy and share to keep."""

    task: str
    seed: int
    policy: str
    keep: float

    @property
    def folder(self) -> Path:
        """Where its run lies, below the folder of all runs.

        >>> Case("sst2", 1, "random fixed", 0.1).folder.as_posix()
        'seed1/random_fixed_0.1'
        """
        name = f"{self.policy.replace(' ', '_')}_{self.keep:g}"
        return Path(f"seed{self.seed}", name)


def cases(task: str, size: Size, policies: Collection[str] = tuple(POLICIES)) -> Iterator[Case]:
    """Give the rows, seed by seed, so that an experiment stopped early still compares policies.

    Args:
        task: one of `TASKS`.
        size: has the seeds.
        policies: those wanted; full training, which all are held against, comes with any of them.
    """
    for seed in size.seeds:
        yield Case(task, seed, FULL, 1.0)
        for keep in sorted({keep for kept in TASKS[task].values() for keep in kept}):
            for policy, kept in TASKS[task].items():
                if keep in kept and policy in policies:
                    yield Case(task, seed, policy, keep)


def make_config(case: Case, size: Size, where: Mapping[str, Path], output: Path) -> Config:
    """Return the config of a row's run; those of a seed differ in `methods` and `output` only.

    Args:
        case: the row.
        size: of the experiment.
        where: `data`, the folder of the data set; for sst2 also `minilm`, that of the weights.
        output: folder of the run.
    """
    settings = POLICIES[case.policy]
    method = {"keep": case.keep, "warmup_epochs": WARMUP, **(settings or {})}
    blocks = sst2.blocks(where) if case.task == "sst2" else _cifar10(size, where)
    limits = {"train_limit": size.train_samples, "test_limit": size.test_samples}
    return Config(
        output=output,
        seed=case.seed,
        device=blocks["device"],
        model=blocks["model"],
        data={**blocks["data"], **limits, "batch_size": size.batch_size, "drop_last": False},
        # evaluated at the end only: the seconds are to be those of training
        train={
            **blocks["train"], "epochs": size.epochs, "eval_every": size.epochs, "keep": 1
        },
        methods=() if settings is None else ({"swiftlearn": method},),
    )  # fmt: skip


def _cifar10(size: Size, where: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    data = data_block(str(where["data"]))
    return {
        "device": {},
        "model": {"name": "resnet18", "stem": "cifar", "width": size.width},
        "data": {**data, "augment": "crop_flip", "eval_batch_size": 250},
        "train": {
            "optimizer": "momentum",
            "nesterov": True,
            "lr": 0.1 * size.batch_size / 128,
            "weight_decay": 5e-4,
            "schedule": "cosine",
            "warmup_epochs": 1,
        },
    }
