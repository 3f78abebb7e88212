"""The accuracy experiment on vision transformers as settings; imports no MindSpore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from ms_eff.bench.rivals.tome import equal_work
from ms_eff.bench.rows import Kind
from ms_eff.config import Config
from ms_eff.section import Section

__all__ = ["KIND", "SIZES", "VARIANTS", "Case", "Size", "Variant", "cases", "make_config"]

Count = Annotated[int, Field(ge=1)]

KIND = Kind("vit_accuracy", ("seed", "variant"))

# the learning rate of GQKVA's paper is for 288 images a step; small batches take it as well
_LR, _WEIGHT_DECAY = 1e-3, 0.05
_DROP, _PATCH = 0.55, 4


@dataclass(frozen=True)
class Variant:
    """What a row's blocks are.

    Attributes:
        gqkva: settings of the method; None: without it.
        skipvit: likewise, but for its blocks.
        behind: how far from the end the skipped tokens come back.
        tome: merge tokens in every block instead (a rival), as many as make SkipViT's work.
    """

    gqkva: dict[str, Any] | None = None
    skipvit: dict[str, Any] | None = None
    behind: int = 1
    tome: bool = False


VARIANTS = {
    "dense (MHA)": Variant(),
    "SkipViT": Variant(skipvit={}),
    "random (random-LTD)": Variant(skipvit={"score": "random"}),
    "plain dropping": Variant(skipvit={}, behind=0),
    "ToMe": Variant(tome=True),
    "GKVA-3": Variant({"kind": "gkva", "groups": 3}),
    "GQA-3": Variant({"kind": "gqa", "groups": 3}),
    "MQA": Variant({"kind": "mqa"}),
    "MKVA": Variant({"kind": "mkva"}),
    "GQKVA-2.3": Variant({"kind": "gqkva", "groups": (2, 3)}),
    "SkipViT with GKVA-3": Variant({"kind": "gkva", "groups": 3}, {}),
}


class Size(Section):
    """How large the experiment is.

    Attributes:
        dim: channels of a token.
        depth: number of blocks.
        heads: attention heads; a multiple of six, which all kinds of attention here divide.
        reduced: blocks that the dropped patches skip, as many in every variant that drops any;
            where tokens merge, its work is matched.
        seeds: each gives weights, order of the data, and augmentation.
        train_images: evenly over the classes; None: all.
        test_images: likewise.
        batch_size: images a step.
        epochs: of every variant, from scratch.
    """

    dim: Count
    depth: int = Field(ge=3)
    heads: Annotated[int, Field(multiple_of=6)] = 6
    reduced: Count
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field((0, 1), min_length=1)
    train_images: Count | None
    test_images: Count | None
    batch_size: Count = 64
    epochs: Count

    @model_validator(mode="after")
    def _blocks_before_and_after(self) -> Size:
        if self.reduced > self.depth - 2:
            raise ValueError(
                f"reduced = {self.reduced}: a block must stay before and one behind, so at most "
                f"{self.depth - 2} of {self.depth}"
            )
        return self


SIZES = {
    "quick": Size(
        dim=24, depth=3, reduced=1, seeds=(0,), train_images=640, test_images=500, epochs=2
    ),
    "hour": Size(dim=96, depth=6, reduced=3, train_images=5000, test_images=5000, epochs=10),
    "full": Size(
        dim=192, depth=12, reduced=5, train_images=None, test_images=None, batch_size=128,
        epochs=100,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row: which seed and variant."""

    seed: int
    variant: str

    @property
    def folder(self) -> Path:
        """Where its run lies, below the folder of all runs.

        >>> Case(0, "dense (MHA)").folder.as_posix()
        'seed0/dense_MHA'
        """
        letters = (c if c.isalnum() or c in "-." else "_" for c in self.variant)
        return Path(f"seed{self.seed}", "".join(letters).replace("__", "_").strip("_"))


def cases(size: Size) -> Iterator[Case]:
    """Give all rows, seed by seed, so that an experiment stopped early still compares variants."""
    for seed in size.seeds:
        for variant in VARIANTS:
            yield Case(seed, variant)


def make_config(case: Case, size: Size, data: Mapping[str, Any], output: Path) -> Config:
    """Return the config of a row's run; those of one seed differ in `methods` and `output` only.

    Rivals are methods within `ms_eff.bench.rivals.known` alone.
    """
    variant = VARIANTS[case.variant]
    digits = data["name"] == "digits"
    side = 16 if digits else 32
    methods: list[dict[str, Any]] = []
    if variant.gqkva is not None:
        methods.append({"gqkva": variant.gqkva})
    if variant.skipvit is not None:
        merge = size.depth - variant.behind
        blocks = {"score_block": merge - size.reduced - 1, "merge_block": merge}
        methods.append({"skipvit": {"drop": _DROP, **blocks, **variant.skipvit}})
    if variant.tome:
        patches = (side // _PATCH) ** 2
        merged = equal_work(patches, size.depth, size.dim, size.reduced, _DROP)
        methods.append({"tome": {"merged": merged}})
    return Config(
        output=output,
        seed=case.seed,
        device={"isa": "native"},  # no convolution anywhere
        model={
            "name": "vit",
            "patch_size": _PATCH,
            "dim": size.dim,
            "depth": size.depth,
            "heads": size.heads,
        },
        data={
            **data,
            "image_size": side,
            "batch_size": size.batch_size,
            "eval_batch_size": 250,
            # mirrored digits are no digits
            "augment": "none" if digits else "crop_flip",
            "train_limit": size.train_images,
            "test_limit": size.test_images,
        },
        # evaluated at the end only: the seconds are to be those of training
        train={
            "optimizer": "adamw",
            "lr": _LR,
            "weight_decay": _WEIGHT_DECAY,
            "schedule": "cosine",
            "warmup_epochs": min(1, size.epochs),
            "epochs": size.epochs,
            "eval_every": size.epochs,
            "keep": 1,
        },
        methods=tuple(methods),
    )
