"""The `train` (and `pretrain`) block of a config."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ms_eff.section import Section

__all__ = ["TrainSettings"]

Decay = Annotated[float, Field(ge=0, lt=1)]


class TrainSettings(Section):
    """How to train; `pretrain` takes the same keys and inherits from `train` what it leaves out.

    Attributes:
        lr: peak learning rate, for the loss averaged over the batch.
        schedule: `step` multiplies by `gamma` at each of `milestones` (fractions of training).
        warmup_epochs: linear from 0; may be a fraction of an epoch.
        final_lr_ratio: where `cosine` and `linear` end, as a share of `lr`.
        weight_decay: L2 for sgd and momentum, decoupled for adamw.
        decay_norm_and_bias: also decay parameters with one axis (norms, biases).
        precision: `auto` is O2 on Ascend and O0 elsewhere (MindSpore's amp levels).
        loss_scale: a number, or `dynamic`; only with O2 and O3. `auto` is dynamic there.
        clip_norm: bound of the global L2 norm of the gradients.
        ema: decay per step of an exponential moving average of the weights, which evaluation uses.
        eval_every: epochs between two evaluations (the last epoch is always evaluated).
        save_every: epochs between two checkpoints; save_every_steps adds some within an epoch.
        keep: how many of the last checkpoints stay, besides the best.
        sink: feed the device from its own queue (Ascend); off where a method watches steps.
    """

    epochs: int = Field(10, ge=0)
    optimizer: Literal["sgd", "momentum", "adamw"] = "momentum"
    lr: float = Field(0.1, gt=0)
    schedule: Literal["constant", "linear", "cosine", "step"] = "cosine"
    warmup_epochs: float = Field(0.0, ge=0)
    final_lr_ratio: float = Field(0.0, ge=0, le=1)
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = Field(0.1, gt=0, le=1)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(5e-4, ge=0)
    decay_norm_and_bias: bool = False
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    precision: Literal["auto", "O0", "O2", "O3"] = "auto"
    loss_scale: float | Literal["auto", "dynamic"] = "auto"
    clip_norm: float | None = Field(None, gt=0)
    ema: float | None = Field(None, gt=0, lt=1)
    eval_every: int = Field(1, ge=1)
    save_every: int = Field(1, ge=1)
    save_every_steps: int | None = Field(None, ge=1)
    keep: int = Field(2, ge=1)
    log_every: int = Field(50, ge=1)
    tensorboard: bool = False
    sink: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> TrainSettings:
        if any(not 0 < m < 1 for m in self.milestones) or list(self.milestones) != sorted(
            self.milestones
        ):
            raise ValueError("milestones must be rising fractions of training, each in (0, 1)")
        if self.nesterov and self.optimizer != "momentum":
            raise ValueError(f"nesterov is for optimizer momentum, not {self.optimizer}")
        if isinstance(self.loss_scale, float) and self.loss_scale <= 0:
            raise ValueError(f"loss_scale = {self.loss_scale:g}: it should be above 0")
        if self.precision == "O0" and self.loss_scale != "auto":
            raise ValueError("loss_scale is for precision O2 and O3; O0 needs none")
        if self.warmup_epochs > self.epochs > 0:
            raise ValueError("warmup_epochs is longer than epochs")
        return self
