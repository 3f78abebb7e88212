"""The `train` (and `pretrain`) block of a config."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ms_eff.section import Section

__all__ = ["TrainSettings"]

Decay = Annotated[float, Field(ge=0, lt=1)]


class TrainSettings(Section):
    """How to train; `pretrain` takes the same keys and inherits from `train` what it leaves out.

    Attributes:
        epochs: how many; with a time budget, at most.
        time_budget: seconds, or as in `600s`, `10m`, `1h`: train for that long, counted from the
            start of training, with what methods do to a new network before it, and with
            compilation, evaluations and checkpoints. The schedule runs over the budget: it measures
            the run's own steps, and is adjusted after each epoch.
        lr: peak learning rate, for the loss averaged over the batch.
        schedule: `step` multiplies by `gamma` at each of `milestones` (fractions of training);
            `peak` is linear from 0 to `lr` at `peak_at`, then linear to its end.
        warmup_epochs: linear from 0; may be a fraction of an epoch. Not with `peak`.
        final_lr_ratio: where `cosine`, `linear` and `peak` end, as a share of `lr`.
        peak_at: where `peak` has its peak, as a fraction of training.
        flat_epochs: how long `peak` stays at its end.
        bias_lr_ratio: learning rate of biases (shifts of norms too) as a multiple of the others';
            their decay is divided by it.
        weight_decay: L2 for sgd and momentum, decoupled for adamw.
        decay_norm_and_bias: also decay parameters with one axis (norms, biases).
        precision: `auto` is O2 on Ascend and O0 elsewhere (MindSpore's amp levels).
        loss_scale: a number, or `dynamic`; only with O2 and O3. `auto` is dynamic there.
        clip_norm: bound of the global L2 norm of the gradients.
        ema: decay per step of an exponential moving average of the weights and of the running
            statistics that go with them, which evaluation uses.
        ema_every: steps between two updates of it, each with `ema ** ema_every`.
        mirror_test: evaluate the mean of each image's logits and its mirror image's.
        eval_every: epochs between two evaluations (the last epoch is always evaluated).
        save_every: epochs between two checkpoints; save_every_steps adds some within an epoch.
        keep: how many of the last checkpoints stay, besides the best.
        sink: feed the device from its own queue (Ascend); off where a method watches steps.
        sink_size: steps that the device takes at a call; null: as `log_every`. Where it does not
            divide the steps of an epoch, their greatest common divisor is taken.
        recompute: keep only the inputs of the network's repeated blocks (residual blocks, layers of
            transformers) and compute their insides again for the gradient: less memory, a third
            more work.
        sync_batch_norm: batch normalisation over the batches of all workers; else each worker
            normalises its own, and running statistics are averaged at evaluations and checkpoints.
    """

    epochs: int = Field(10, ge=0)
    time_budget: float | None = Field(None, gt=0)
    optimizer: Literal["sgd", "momentum", "adamw"] = "momentum"
    lr: float = Field(0.1, gt=0)
    schedule: Literal["constant", "linear", "cosine", "step", "peak"] = "cosine"
    warmup_epochs: float = Field(0.0, ge=0)
    final_lr_ratio: float = Field(0.0, ge=0, le=1)
    peak_at: float = Field(0.2, gt=0, lt=1)
    flat_epochs: float = Field(2.0, ge=0)
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = Field(0.1, gt=0, le=1)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(5e-4, ge=0)
    decay_norm_and_bias: bool = False
    bias_lr_ratio: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    precision: Literal["auto", "O0", "O2", "O3"] = "auto"
    loss_scale: float | Literal["auto", "dynamic"] = "auto"
    clip_norm: float | None = Field(None, gt=0)
    ema: float | None = Field(None, gt=0, lt=1)
    ema_every: int = Field(1, ge=1)
    mirror_test: bool = False
    eval_every: int = Field(1, ge=1)
    save_every: int = Field(1, ge=1)
    save_every_steps: int | None = Field(None, ge=1)
    keep: int = Field(2, ge=1)
    log_every: int = Field(50, ge=1)
    tensorboard: bool = False
    sink: bool = False
    sink_size: int | None = Field(None, ge=1)
    recompute: bool = False
    sync_batch_norm: bool = False

    @field_validator("time_budget", mode="before")
    @classmethod
    def _in_seconds(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([smh]?)", value.strip())
        if found is None:
            raise ValueError("it should be seconds, or as in 600s, 10m, 1h")
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]

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
        if self.schedule == "peak" and self.warmup_epochs > 0:
            raise ValueError("warmup_epochs: schedule peak rises from 0 by itself; set peak_at")
        if self.sink_size is not None and not self.sink:
            raise ValueError("sink_size is for sink: true; drop it")
        if self.sink and self.time_budget is not None:
            raise ValueError("time_budget: with sink the host sees no single step; drop one")
        return self
