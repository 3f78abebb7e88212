"""What of a family's settings its parent cannot have; told before anything is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ms_eff.errors import ConfigError
from ms_eff.methods.progressive.settings import FamilyConfig, RecoverySettings
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.parallel import check_recovery, check_shape

if TYPE_CHECKING:
    from ms_eff.models.gguf_file import GGUFModel
    from ms_eff.models.parents import FolderModel

__all__ = ["check_fit", "check_share"]


def check_fit(config: FamilyConfig, parent: FolderModel | GGUFModel, workers: int) -> None:
    """Refuse sequences and a mesh that do not fit the parent, the batch or the job.

    Args:
        config: of the family.
        parent: the model on disk.
        workers: of the job.

    Raises:
        ConfigError: the first setting that does not fit.
    """
    _check_lengths(config, parent)
    mesh, recovery = config.parallel, config.recovery
    if config.progressive.tokens and recovery is not None:
        check_share(recovery, workers)
    if mesh is None:
        return
    if not isinstance(parent.shape, LlamaShape):
        raise ConfigError(
            f"parallel: the mesh is one of MindFormers' Llama, and {parent.path} is a "
            f"{parent.shape.model}; drop parallel"
        )
    check_shape(mesh, parent.shape, recovery.batch if recovery else None)
    if config.progressive.tokens:
        check_recovery(mesh, workers)


def check_share(recovery: RecoverySettings, workers: int) -> None:
    """Refuse a batch that the workers cannot share evenly; raises ConfigError."""
    if recovery.batch % workers:
        raise ConfigError(
            f"recovery.batch = {recovery.batch}: does not share out over {workers} workers; use a "
            "multiple"
        )


def _check_lengths(config: FamilyConfig, parent: FolderModel | GGUFModel) -> None:
    lengths = {"evaluation.window": config.evaluation.window - 1}  # the last is predicted only
    if config.calibration is not None:
        lengths["calibration.window"] = config.calibration.window - 1
    if config.recovery is not None:
        lengths["recovery.block"] = config.recovery.block
    for key, length in lengths.items():
        if length > parent.shape.context:
            raise ConfigError(
                f"{key}: the model would read {length} tokens at a time, and {parent.path} has "
                f"{parent.shape.context} positions; lower it"
            )
