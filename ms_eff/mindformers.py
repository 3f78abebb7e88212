"""For those who train with MindFormers: importing this is all; their config says the rest.

    import ms_eff.mindformers
    from mindformers import Trainer

    Trainer("their.yaml").train()

with a block in their.yaml (see `MindFormersSettings`), beside model, optimizer and the like:

    ms_eff:
      plan: runs/llama2_7b/members/1.25
      freeze: static

The import registers, with MindFormers' own registry (1.9.0),

- each task trainer anew under its own name: the model that it builds, to train, evaluate or
  predict, gets the plan's factors and the member's weights; without the block nothing changes;
- the block, so that its mistakes are told when the config is read;
- the wrapper `MsEffTrainOneStepCell`, for `runner_wrapper: {type: ...}` where there is no Ascend.
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, nn, ops

from ms_eff.errors import ConfigError, SetupError
from ms_eff.models.mindformers_member import (
    MindFormersSettings,
    compressed,
    read_block,
    write_back,
)
from ms_eff.parallel import ParallelSettings

try:
    from mindformers.tools.register import MindFormerModuleType, MindFormerRegister
    from mindformers.tools.register.template import CONFIG_NAME_TO_CLASS, Config, ConfigTemplate
    from mindformers.trainer import BaseTrainer
    from mindformers.wrapper import MFTrainOneStepCell
except ImportError as error:
    raise SetupError("mindformers is not installed: pip install 'ms_eff[llm]'") from error

__all__ = ["MindFormersSettings", "MsEffTrainOneStepCell", "compressed", "read_block", "write_back"]

_KEY = "ms_eff"


class MsEffTrainOneStepCell(MFTrainOneStepCell):
    """MindFormers' training step where there is no Ascend, whose operators its own step asks.

    It looks at the gradients themselves; all else is `MFTrainOneStepCell`'s.
    """

    def get_overflow_status(self, status: Tensor, compute_output: tuple[Tensor, ...]) -> Tensor:
        """Return whether a gradient is not finite."""
        finite = ops.isfinite(compute_output[0]).all()
        for gradient in compute_output[1:]:
            finite = ops.logical_and(finite, ops.isfinite(gradient).all())
        return ops.logical_not(finite)


class _Block(Config):
    """The block, where MindFormers reads a config; others would be called useless there."""

    _name = _KEY

    @classmethod
    def apply(cls, config: dict[str, Any] | None) -> dict[str, Any]:
        """Return the block as it is, checked; empty where there is none."""
        read_block(config)
        return config or {}


def _compressing(trainer: type[BaseTrainer]) -> type[BaseTrainer]:
    """Return a task trainer that heeds the block."""

    class Compressing(trainer):
        _heeds_ms_eff = True

        def create_network(self, default_args: dict[str, Any] | None = None) -> nn.Cell:
            network = super().create_network(default_args)
            settings = read_block(self.config.get(_KEY))
            if settings is not None:
                loads = (self.config.get("checkpoint") or {}).get("load_path")
                network = compressed(network, settings, _mesh(self.config), not loads)
                self.real_model = network
            return network

        def training_process(
            self, config: Any = None, network: nn.Cell | None = None, **rest: Any
        ) -> None:
            if network is not None and read_block((config or {}).get(_KEY)) is not None:
                raise ConfigError(
                    "ms_eff: the Trainer was given a model, and plan is for one that it builds; "
                    "drop the block and give ms_eff.mindformers.compressed(model, settings)"
                )
            super().training_process(config=config, network=network, **rest)

    Compressing.__name__ = Compressing.__qualname__ = trainer.__name__
    Compressing.__doc__ = trainer.__doc__
    return Compressing


def _mesh(config: Any) -> ParallelSettings | None:
    """Return what of the config's mesh factors are laid out on; None for one device."""
    blocks = config.parallel_config
    if not config.use_parallel:
        return None
    return ParallelSettings(data=blocks.data_parallel, model=blocks.model_parallel)


def _register() -> None:
    """Register everything, once."""
    kind = MindFormerModuleType.TRAINER
    for name, trainer in list(MindFormerRegister.registry[kind].items()):
        known = isinstance(trainer, type) and issubclass(trainer, BaseTrainer)
        if known and not getattr(trainer, "_heeds_ms_eff", False):
            MindFormerRegister.register_cls(_compressing(trainer), kind, alias=name)
    MindFormerRegister.register_cls(MsEffTrainOneStepCell, MindFormerModuleType.WRAPPER)
    if _KEY not in CONFIG_NAME_TO_CLASS:
        CONFIG_NAME_TO_CLASS[_KEY] = _Block
        ConfigTemplate.general_configs.append(_KEY)


_register()
