"""How devices share one large language model: settings, what a shape allows; no MindSpore.

MindSpore shares a model out on Ascend only ("Invalid backend: CPU" elsewhere), so what is checked
here is all that a machine without boards can; `ms_eff.models.mindformers_parallel` applies it.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from ms_eff.errors import ConfigError
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.section import Section

__all__ = [
    "ParallelSettings",
    "check_recovery",
    "check_shape",
    "context_of",
    "mindformers_blocks",
]


class ParallelSettings(Section):
    """The mesh of devices: data x model x pipeline of them.

    Attributes:
        data: replicas that share the batch.
        model: devices that share each matrix, by heads and by hidden channels (arXiv:1909.08053).
        pipeline: stages, each with an equal run of blocks.
        micro_batches: pieces of a replica's batch in the pipeline; at least as many as stages.
        optimizer: replicas share moments and weights instead of holding all of them
            (arXiv:1910.02054).
        vocabulary: share the embedding's rows among `model` devices too.
    """

    data: int = Field(1, ge=1)
    model: int = Field(1, ge=1)
    pipeline: int = Field(1, ge=1)
    micro_batches: int = Field(1, ge=1)
    optimizer: bool = False
    vocabulary: bool = False

    @property
    def devices(self) -> int:
        """Devices of the mesh.

        >>> ParallelSettings(data=2, model=4).devices
        8
        """
        return self.data * self.model * self.pipeline

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.micro_batches < self.pipeline:
            raise ValueError(
                f"micro_batches = {self.micro_batches}: {self.pipeline} stages would idle; give at "
                f"least {self.pipeline}"
            )
        if self.pipeline == 1 and self.micro_batches > 1:
            raise ValueError("micro_batches is for pipeline above 1; drop it")
        if self.optimizer and self.data == 1:
            raise ValueError("optimizer: true shares state among replicas; data = 1 has no other")
        if self.vocabulary and self.model == 1:
            raise ValueError("vocabulary: true shares rows among model devices; model is 1")
        return self


def check_shape(settings: ParallelSettings, shape: LlamaShape, batch: int | None = None) -> None:
    """Refuse a mesh that the model, or the batch, does not divide over.

    Args:
        settings: the mesh.
        shape: of the model.
        batch: sequences in a step, all replicas' together; None: not known.

    Raises:
        ConfigError: the first number that does not fit, with those that do.

    >>> check_shape(ParallelSettings(model=3), LlamaShape(64, 48, 2, 12, 4, 96))
    Traceback (most recent call last):
    ms_eff.errors.ConfigError: parallel.model = 3: kv_heads = 4 does not divide by it; use 1, 2, 4
    """
    parts = {"heads": shape.heads, "kv_heads": shape.kv_heads, "hidden": shape.hidden}
    parts |= {"vocab_size": shape.vocab_size} if settings.vocabulary else {}
    for name, size in parts.items():
        if size % settings.model:
            fits = [d for d in range(1, size + 1) if all(n % d == 0 for n in parts.values())]
            raise ConfigError(
                f"parallel.model = {settings.model}: {name} = {size} does not divide by it; use "
                f"{', '.join(map(str, fits))}"
            )
    if shape.depth % settings.pipeline:
        fits = [d for d in range(1, shape.depth + 1) if shape.depth % d == 0]
        raise ConfigError(
            f"parallel.pipeline = {settings.pipeline}: {shape.depth} blocks make no equal stages; "
            f"use {', '.join(map(str, fits))}"
        )
    pieces = settings.data * settings.micro_batches
    if batch is not None and batch % pieces:
        raise ConfigError(
            f"recovery.batch = {batch}: does not divide by parallel.data x micro_batches = "
            f"{settings.data} x {settings.micro_batches}; use a multiple of {pieces}"
        )


def check_recovery(settings: ParallelSettings, workers: int) -> None:
    """Refuse what the training between two steps of a family cannot do: all but replicas.

    Raises:
        ConfigError: with what can.
    """
    for name in ("model", "pipeline"):
        if getattr(settings, name) > 1:
            raise ConfigError(
                f"parallel.{name} = {getattr(settings, name)}: recovery here trains replicas only; "
                "use tokens: 0 and train the member with MindFormers (ascend_scripts/README.md)"
            )
    if settings.optimizer:
        raise ConfigError(
            "parallel.optimizer = true: recovery here keeps whole moments in each replica; use "
            "false, or tokens: 0 and MindFormers (ascend_scripts/README.md)"
        )
    if settings.data != workers:
        raise ConfigError(
            f"parallel.data = {settings.data}: the job has {workers} worker(s); start as many "
            f"(train.sh --nproc {settings.data})"
        )


def context_of(settings: ParallelSettings, rank: int) -> dict[str, Any]:
    """Return the arguments of `mindspore.set_auto_parallel_context` for the mesh.

    `full_batch`: every device is given the whole batch and takes its part, so that data do not
    depend on the mesh.

    Args:
        settings: the mesh.
        rank: of this device, from 0.
    """
    return {
        "parallel_mode": "semi_auto_parallel",
        "device_num": settings.devices,
        "global_rank": rank,
        # the loss is the mean over all replicas already; MindFormers' own configs say the same
        "gradients_mean": False,
        "full_batch": True,
        "enable_parallel_optimizer": settings.optimizer,
        "pipeline_stages": settings.pipeline,
    }


def mindformers_blocks(settings: ParallelSettings) -> dict[str, Any]:
    """Return the blocks of a MindFormers training config that say the same."""
    context = context_of(settings, 0)
    return {
        "use_parallel": settings.devices > 1,
        "parallel": {
            "parallel_mode": 1,  # semi_auto_parallel
            **{key: context[key] for key in ("gradients_mean", "full_batch")},
            "enable_parallel_optimizer": settings.optimizer,
        },
        "parallel_config": {
            "data_parallel": settings.data,
            "model_parallel": settings.model,
            "pipeline_stage": settings.pipeline,
            "micro_batch_num": settings.micro_batches,
            "vocab_emb_dp": not settings.vocabulary,
        },
    }
