"""What a user may ask of a family of language models; imports no MindSpore."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ms_eff.parallel import ParallelSettings
from ms_eff.runtime import DeviceSettings
from ms_eff.section import Section

__all__ = [
    "CRITERION_OF",
    "CalibrationSettings",
    "EvaluationSettings",
    "FamilyConfig",
    "ParentSettings",
    "ProgressiveSettings",
    "RecoverySettings",
]

Ratio = Annotated[float, Field(gt=1)]

# rule -> the low-rank method's criterion
CRITERION_OF = {"plain": "weight", "activation_aware": "activation", "two_sided": "two_sided"}


class ProgressiveSettings(Section):
    """Shrink a language model step by step, each step a member of a family (arXiv:2406.19995).

    Attributes:
        ratios: of each step: how many times fewer weights all linear layers of the blocks have
            together than the parent's, rising. 1.25 removes 20 %.
        tokens: to train on after each step; 0 needs no training at all.
        rule: which error a truncation makes small: `plain`, the weights'; `activation_aware`, the
            layers' outputs on real text; `two_sided`, what it costs the loss.
        allocation: `uniform` gives every matrix the ratio; `global` shares one budget out over all
            matrices by what they lose, and may leave some whole.
        step: after training, truncate `w1_only`, the second factor alone (the paper's), or the
            `joint` product.
        divisor: round ranks down to a multiple; 16 suits Ascend's cube unit.
        passes: 2 measures the statistics once more, on the truncated model, and truncates the
            parent's matrices anew by them; 3 twice more (ours). Each costs a calibration.
    """

    ratios: tuple[Ratio, ...] = Field(min_length=1)
    tokens: int = Field(0, ge=0)
    rule: Literal["plain", "activation_aware", "two_sided"] = "two_sided"
    allocation: Literal["uniform", "global"] = "global"
    step: Literal["w1_only", "joint"] = "joint"
    divisor: int = Field(1, ge=1)
    passes: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if list(self.ratios) != sorted(set(self.ratios)):
            raise ValueError(f"ratios must rise, got {list(self.ratios)}; sort them")
        if not self.tokens and self.step == "w1_only":
            raise ValueError(
                "step: w1_only differs from joint only after training; give tokens, or drop it"
            )
        if self.passes > 1 and self.rule == "plain":
            raise ValueError("passes measure statistics, and rule: plain has none; drop one")
        if self.passes > 1 and self.tokens:
            raise ValueError("passes are for families without training; drop them, or tokens")
        if self.step == "w1_only" and self.allocation == "global":
            raise ValueError(
                "step: w1_only goes by ranks that fall in every matrix; use allocation: uniform"
            )
        return self

    @property
    def criterion(self) -> str:
        """The low-rank method's name of the rule."""
        return CRITERION_OF[self.rule]


class ParentSettings(Section):
    """The model to start from.

    Attributes:
        path: a Hugging Face folder, or a .gguf file.
        tokenizer: a tokenizer.json; left out, the parent's own.
    """

    path: Path
    tokenizer: Path | None = None


class CalibrationSettings(Section):
    """The text that says which errors matter.

    Attributes:
        files: text files.
        tokens: how many, from the start; windows lie end to end.
        window: tokens that see each other.
        statistics: folder to keep what was measured in, so that other ratios and rules can use it;
            left out, it is in the run's output.
    """

    files: tuple[Path, ...] = Field(min_length=1)
    tokens: int = Field(131_072, ge=1)
    window: int = Field(1024, ge=2)
    statistics: Path | None = None


class EvaluationSettings(Section):
    """How members are judged.

    Attributes:
        files: text files for the perplexity.
        tokens: how many count, from the start; null takes all.
        window: tokens that see each other; the first of each is not scored.
        prompts: what members go on writing from.
        new_tokens: how many they add.
        questions: name -> JSONL file of multiple-choice questions (BoolQ-, WinoGrande-, LogiQA- or
            MMLU-like), answered by likelihood.
        questions_limit: only the first that many of each file.
        baseline: judge the parent as well.
    """

    files: tuple[Path, ...] = Field(min_length=1)
    tokens: int | None = Field(20_480, ge=1)
    window: int = Field(1024, ge=2)
    prompts: tuple[str, ...] = ()
    new_tokens: int = Field(32, ge=1)
    questions: dict[str, Path] = Field(default_factory=dict)
    questions_limit: int | None = Field(None, ge=1)
    baseline: bool = True


class RecoverySettings(Section):
    """Training between two steps: AdamW on packed blocks of text.

    Attributes:
        files: text files.
        lr: peak learning rate of each step: linear warm-up, then a cosine to 0.
        warmup: share of a step's batches that warm up.
        batch: blocks in a batch, over all workers.
        block: tokens of a block.
        weight_decay: decoupled; not of norms.
        clip_norm: bound of the gradients' global norm.
        precision: `auto` is O2 on Ascend and O0 elsewhere (MindSpore's amp levels).
        save_every: batches between two checkpoints.
        recompute: keep only the inputs of the blocks and compute their insides again for the
            gradient.
    """

    files: tuple[Path, ...] = Field(min_length=1)
    lr: float = Field(1e-4, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    batch: int = Field(8, ge=1)
    block: int = Field(512, ge=2)
    weight_decay: float = Field(0.1, ge=0)
    clip_norm: float | None = Field(1.0, gt=0)
    precision: Literal["auto", "O0", "O2", "O3"] = "auto"
    save_every: int = Field(100, ge=1)
    recompute: bool = False


class FamilyConfig(Section):
    """A whole family: `ms-eff compress` reads this where `methods` names `progressive`.

    Attributes:
        output: folder of everything the run writes.
        methods: `progressive` alone.
        recovery: needed where `tokens` is above 0.
        parallel: the devices that members are to be trained on; checked against their shape and
            written beside them, for MindFormers. Recovery here takes `data` alone.
    """

    output: Path = Path("runs/family")
    seed: int = Field(0, ge=0, lt=2**32)
    # no convolutions: the widest vectors are the fastest
    device: DeviceSettings = DeviceSettings(isa="native")
    parent: ParentSettings
    calibration: CalibrationSettings | None = None
    evaluation: EvaluationSettings
    recovery: RecoverySettings | None = None
    parallel: ParallelSettings | None = None
    methods: tuple[dict[Literal["progressive"], ProgressiveSettings], ...] = Field(
        min_length=1, max_length=1
    )

    @field_validator("methods", mode="before")
    @classmethod
    def _alone(cls, methods: Any) -> Any:
        names = [n for entry in methods or () if isinstance(entry, Mapping) for n in entry]
        if names != ["progressive"]:
            raise ValueError(f"progressive stands alone, found {', '.join(map(str, names))}")
        return methods

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.progressive.rule != "plain" and self.calibration is None:
            raise ValueError(
                f"rule {self.progressive.rule} needs text; give calibration.files, or rule: plain"
            )
        if self.progressive.tokens and self.recovery is None:
            raise ValueError("tokens are to be trained on; give recovery.files, or tokens: 0")
        if self.device.cache and not self.progressive.tokens:
            raise ValueError("device.cache keeps training steps, and tokens is 0; drop it")
        return self

    @property
    def progressive(self) -> ProgressiveSettings:
        """The method's settings."""
        return self.methods[0]["progressive"]

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-able values, defaults included."""
        return self.model_dump(mode="json")
