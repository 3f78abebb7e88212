"""Distillation as the trainer knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from mindspore import Parameter, nn

from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.methods.base import EpochEnd, Method, ModelContext, RunStart, StepBegin
from ms_eff.methods.distillation.kinds import TEACHING, Kind, Smoothed, check_epochs, needed
from ms_eff.methods.distillation.settings import DENSE, DistillationSettings
from ms_eff.methods.distillation.teacher import (
    Teacher,
    check_pair,
    check_same,
    find_teacher,
    require,
    signature,
)
from ms_eff.section import Section
from ms_eff.train import checkpoint
from ms_eff.train.precision import mixed_precision
from ms_eff.train.step import Forward

if TYPE_CHECKING:
    from ms_eff.train.step import Step

__all__ = ["Distillation"]

_TAUGHT_BY = "taught_by"


class Distillation(Method):
    """Train a network by a teacher's outputs, or by softened labels (compared in arXiv:2110.08460).

    The teacher is no part of the network: its weights are in no optimiser and no checkpoint.
    Settings: `DistillationSettings`.
    """

    settings: DistillationSettings

    name: ClassVar[str] = "distillation"
    stage: ClassVar[str] = "distilled"

    def __init__(self, settings: Section, seed: int = 0) -> None:
        super().__init__(settings, seed)
        self._kind: Kind | None = None
        self._signature: np.ndarray | None = None  # of the teacher

    def excludes(self) -> Sequence[str]:
        """MATE draws for whole batches, which meta-learning divides."""
        return ("meta_learning",) if self.settings.kind == "mate" else ()

    def watches(self) -> bool:
        """Tell whether steps are watched: only MATE does, to train its generator in between."""
        return self.settings.kind == "mate"

    def counts(self) -> bool:
        """Tell whether the number of epochs must be known: annealing divides it."""
        return self.settings.kind == "annealing"

    def changes_loss(self) -> bool:
        """Tell whether it puts another forward into the step: with the teacher's part in it."""
        return True

    def needs_plain_loss(self) -> bool:
        """Tell whether it has to come first: its loss replaces the plain one."""
        return True

    def check(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Refuse before anything is trained a teacher that is not there, or cannot be one.

        Raises:
            ConfigError: none is named, and this run makes none; the student offers not what the
                kind looks at; too few epochs.
            CheckpointError: there is none where it should be.
            PlanError: the run's own dense network is no copy of the student, for `self`.
        """
        kind = self.settings.kind
        if not self.settings.needs_teacher:
            return model
        require(model, kind, "student", *needed(self.settings))
        if kind == "annealing":
            check_epochs(self.epochs)
        if self._teacher_path() != self.dense:
            find_teacher(self._teacher_path())
        elif kind == "self" and context.dense is not None:
            check_same(model, context.dense)
        return model

    def on_start(self, run: RunStart) -> None:
        """Load the teacher, see that it fits, and set up the kind.

        Raises:
            CheckpointError: there is no such teacher, or it is damaged.
            ConfigError: the networks offer not what the kind looks at.
            PlanError: the teacher's outputs, vocabulary, depth or width do not fit.
        """
        given = (self.settings, run, self.epochs, self.seed)
        if self.settings.needs_teacher:
            self._kind = TEACHING[self.settings.kind](*given, self._teacher(run))
        elif run.settings.label_smoothing > 0:
            raise ConfigError(
                f"train.label_smoothing = {run.settings.label_smoothing:g}: distillation of kind "
                f"{self.settings.kind} softens labels by itself; set 0"
            )
        else:
            self._kind = Smoothed(*given)
        self._kind.before_epoch(0)

    def own_weights(self) -> Sequence[Parameter]:
        """Return the projections of `rail`."""
        return self._started.own_weights()

    def phase(self, epoch: int) -> str:
        """Name the phase; only annealing has two."""
        return self._started.phase(epoch)

    def change_step(self, step: Step, phase: str) -> Step:
        """Put the kind's loss in the place of the plain one.

        Raises:
            ConfigError: another method has changed it.
        """
        if type(step.forward) is not Forward:
            raise ConfigError(
                "methods.distillation: it replaces the plain loss, which a method listed before it "
                "has changed; list distillation first"
            )
        return replace(step, forward=self._started.forward(step.forward, phase))

    def on_step_begin(self, event: StepBegin) -> None:
        """Let MATE's generator train if it is its turn."""
        self._started.before_step()

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Look at the epoch, then prepare for the next one."""
        self._started.after_epoch(event)
        self._started.before_epoch(event.epoch + 1)

    def on_train_end(self) -> None:
        """Say what was done."""
        self.report = self.settings.model_dump(mode="json", exclude_defaults=True) | {
            "kind": self.settings.kind
        }

    def state(self) -> dict[str, np.ndarray]:
        """Return what the kind remembers, and who the teacher is."""
        own = {} if self._signature is None else {_TAUGHT_BY: self._signature}
        return {**self._started.state(), **own}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take it back.

        Raises:
            CheckpointError: the teacher is not the one that the run began with.
        """
        before, own = state.get(_TAUGHT_BY), self._signature
        if before is not None and own is not None and not np.array_equal(before, own):
            raise CheckpointError(
                f"methods.distillation.teacher = {self.settings.teacher or DENSE}: holds another "
                "network than when this run began; bring that one back, choose another "
                "output=FOLDER, or --fresh to start over"
            )
        self._started.load_state(state)

    @property
    def _started(self) -> Kind:
        if self._kind is None:
            raise RuntimeError("distillation: on_start was not called")
        return self._kind

    def _teacher_path(self) -> Path:
        named = self.settings.teacher or DENSE
        if named != DENSE:
            return Path(named)
        if self.dense is None:
            raise ConfigError(
                f"methods.distillation.teacher: {self.settings.kind} needs one, and this run makes "
                "none; give the folder of a trained network, or a `pretrain` section"
            )
        return self.dense

    def _teacher(self, run: RunStart) -> Teacher:
        found = checkpoint.read(find_teacher(self._teacher_path()))
        self._signature = signature(found.weights)
        network = checkpoint.rebuild(found)
        check_pair(
            run.model,
            network,
            found.state["model"]["args"],
            len(run.classes),
            run.split.image_shape,
        )
        if self.settings.kind == "self":
            check_same(run.model, network)
        return Teacher(mixed_precision(network, run.settings.precision))
