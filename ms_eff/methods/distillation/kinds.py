"""The kinds of distillation: what each puts in place of the plain loss, and what it remembers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.base import EpochEnd, RunStart
from ms_eff.methods.distillation import core
from ms_eff.methods.distillation.cells import AnnealedForward, CosineForward, TaughtForward
from ms_eff.methods.distillation.core import Purpose
from ms_eff.methods.distillation.losses import SmoothedLoss
from ms_eff.methods.distillation.mate import MateForward
from ms_eff.methods.distillation.rail import LayerDistance, RailForward
from ms_eff.methods.distillation.rounds import Rounds
from ms_eff.methods.distillation.settings import DistillationSettings
from ms_eff.methods.distillation.teacher import Teacher, require
from ms_eff.train.step import Forward

__all__ = ["TEACHING", "Kind", "Smoothed", "Teaching", "check_epochs", "needed"]

# what RAIL and MATE ask of a network of text
_LAYERS = ("with_hidden", "token_table", "blocks")
_EMBEDDED = ("from_embedded", "token_table")


def needed(settings: DistillationSettings) -> Sequence[str]:
    """Return the attributes that a kind asks of both networks."""
    if settings.kind == "mate":
        return _EMBEDDED
    if settings.kind == "rail":
        return _LAYERS
    return _LAYERS if settings.kind in ("vanilla", "self") and settings.shares[2] > 0 else ()


def check_epochs(epochs: int) -> None:
    """Refuse what annealing cannot divide into two phases."""
    if epochs < 2:
        raise ConfigError(f"train.epochs = {epochs}: annealing has two phases; give 2 or more")


@dataclass
class Kind:
    """Base: every hook does nothing until a subclass says otherwise.

    Attributes:
        settings: of the method.
        run: what is trained, and on what.
        epochs: of the run.
        seed: of the run.
    """

    settings: DistillationSettings
    run: RunStart
    epochs: int
    seed: int

    def own_weights(self) -> Sequence[Parameter]:
        """Return what is trained beside the student."""
        return ()

    def phase(self, epoch: int) -> str:
        """Name the compiled step of that epoch."""
        return ""

    def forward(self, plain: Forward, phase: str) -> Forward:
        """Return what the step computes in that phase: the plain loss."""
        return plain

    def before_epoch(self, epoch: int) -> None:
        """Prepare for an epoch."""

    def before_step(self) -> None:
        """Prepare for a step (only of kinds that watch steps)."""

    def after_epoch(self, event: EpochEnd) -> None:
        """Look at an epoch."""

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that a resumed run needs."""
        return {}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take them back."""


class Smoothed(Kind):
    """`label_smoothing` and `tf_reg`: softened labels, no teacher."""

    def forward(self, plain: Forward, phase: str) -> Forward:
        """Return the plain forward with the softened loss."""
        return Forward(plain.model, SmoothedLoss(self.alpha))

    @property
    def alpha(self) -> float:
        """What of the label is spread over all classes."""
        wishes, run = self.settings, self.run
        if wishes.kind == "label_smoothing":
            return wishes.alpha
        language = getattr(run.model, "task", "") == "language"
        classes = run.model.vocab if language else len(run.classes)
        return core.equivalent_smoothing(wishes.alpha, wishes.certainty, classes)


@dataclass
class Teaching(Kind):
    """Base of the kinds with a teacher.

    Attributes:
        teacher: in inference mode.
    """

    teacher: Teacher

    def __post_init__(self) -> None:
        """Refuse networks that lack what the kind looks at."""
        for whose, network in zip(("student", "teacher"), self.pair, strict=True):
            require(network, self.settings.kind, whose, *needed(self.settings))

    @property
    def pair(self) -> tuple[nn.Cell, nn.Cell]:
        """Student and teacher as networks."""
        return self.run.model, self.teacher.network


class Taught(Teaching):
    """`vanilla` and `self`: the teacher's outputs, and the last hidden states if asked for."""

    def __post_init__(self) -> None:
        """Check what the cosine term needs."""
        super().__post_init__()
        if self.settings.shares[2] > 0:
            widths = [network.token_table.shape[1] for network in self.pair]
            if widths[0] != widths[1]:
                raise PlanError(
                    f"methods.distillation.weights: the third is for hidden states of one width, "
                    f"but the student has {widths[0]} and the teacher {widths[1]}; give it 0"
                )

    def forward(self, plain: Forward, phase: str) -> Forward:
        """Return labels, outputs and hidden states in one loss."""
        labels, outputs, hidden = self.settings.shares
        temperature = self.settings.temperature
        if hidden > 0:
            return CosineForward(plain, self.teacher, self.settings.shares, temperature)
        return TaughtForward(plain, self.teacher, (labels, outputs), temperature)


class Annealed(Teaching):
    """`annealing`: on ever less softened logits, then on labels from the best weights so far."""

    def __post_init__(self) -> None:
        """Divide the epochs."""
        super().__post_init__()
        check_epochs(self.epochs)
        self.first = core.first_phase(self.epochs, self.settings.first_share)
        self.factor = Parameter(Tensor(0.0, ms.float32), "distillation.phi", requires_grad=False)
        self._best: dict[str, np.ndarray] = {}
        self._merit = -math.inf

    def phase(self, epoch: int) -> str:
        """Tell logits from labels."""
        return "logits" if epoch < self.first else "labels"

    def forward(self, plain: Forward, phase: str) -> Forward:
        """Return the distance of logits; in the second phase the plain loss, without a teacher."""
        if phase == "labels":
            return super().forward(plain, phase)
        return AnnealedForward(plain, self.teacher, self.factor)

    def before_epoch(self, epoch: int) -> None:
        """Raise phi."""
        if epoch < self.first:
            phi = core.annealing_factor(epoch, self.first, self.settings.max_temperature)
            self.factor.set_data(Tensor(phi, ms.float32))

    def after_epoch(self, event: EpochEnd) -> None:
        """Remember the best weights, and begin the second phase with them."""
        if event.epoch >= self.first:
            return
        if event.score is not None and event.score.merit > self._merit:
            self._merit = event.score.merit
            self._best = {p.name: p.asnumpy().copy() for p in event.model.get_parameters()}
        if event.epoch == self.first - 1:
            for parameter in event.model.get_parameters():
                if self._best:  # without any evaluation the last weights are the best known
                    parameter.set_data(Tensor(self._best[parameter.name]))
            self._best = {}
            event.restart()

    def state(self) -> dict[str, np.ndarray]:
        """Return phi, and until the second phase the best weights."""
        best = {f"best/{name}": array for name, array in self._best.items()}
        return {"phi": self.factor.asnumpy(), "merit": np.array(self._merit), **best}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take them back."""
        self.factor.set_data(Tensor(state["phi"]))
        self._merit = float(state["merit"])
        best = {k: v for k, v in state.items() if k.startswith("best/")}
        self._best = {k.removeprefix("best/"): v.copy() for k, v in best.items()}


class Rail(Teaching):
    """`rail`: layers of the teacher drawn anew each epoch, the same on every worker."""

    def __post_init__(self) -> None:
        """Set up the projections."""
        super().__post_init__()
        student, teacher = self.pair
        self.own, self.theirs = len(student.blocks), len(teacher.blocks)
        if self.theirs < self.own:
            raise PlanError(
                f"methods.distillation.teacher: rail draws {self.own} layers, as many as the "
                f"student has, but the teacher has {self.theirs}; give a deeper teacher"
            )
        dims = (student.token_table.shape[1], teacher.token_table.shape[1])
        wishes = self.settings
        self.distance = LayerDistance(self.own, dims, wishes.width, wishes.form, self.seed)
        self.drawn = Parameter(
            Tensor(np.arange(self.own), ms.int32), "distillation.drawn", requires_grad=False
        )

    def own_weights(self) -> Sequence[Parameter]:
        """Return the projections."""
        return tuple(self.distance.trainable_params())

    def forward(self, plain: Forward, phase: str) -> Forward:
        """Return labels, outputs and layers in one loss."""
        return RailForward(
            plain,
            self.teacher,
            self.settings.shares,
            self.settings.temperature,
            distance=self.distance,
            drawn=self.drawn,
        )

    def before_epoch(self, epoch: int) -> None:
        """Draw layers."""
        rng = core.stream(Purpose.LAYERS, self.seed, epoch)
        self.drawn.set_data(Tensor(core.draw_layers(self.theirs, self.own, rng)))

    def state(self) -> dict[str, np.ndarray]:
        """Return the layers of the epoch, and the projections."""
        weights = {p.name: p.asnumpy() for p in self.own_weights()}
        return {"drawn": self.drawn.asnumpy(), **weights}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take them back."""
        self.drawn.set_data(Tensor(state["drawn"]))
        for parameter in self.own_weights():
            parameter.set_data(Tensor(state[parameter.name]))


class Mate(Teaching):
    """`mate`: text filled in by a generator, which is trained in rounds."""

    def __post_init__(self) -> None:
        """Set up the generator."""
        super().__post_init__()
        self.rounds = Rounds(self.settings, self.run, self.teacher, self.epochs, self.seed)

    def forward(self, plain: Forward, phase: str) -> Forward:
        """Return labels, text and generated text in one loss."""
        return MateForward(plain, self.teacher, self.settings.shares, self.rounds.filler)

    def before_step(self) -> None:
        """Let the generator train if it is its turn."""
        self.rounds.before_step()

    def state(self) -> dict[str, np.ndarray]:
        """Return what belongs to the generator."""
        return self.rounds.state()

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take it back."""
        self.rounds.load_state(state)


TEACHING: dict[str, type[Teaching]] = {
    "vanilla": Taught,
    "self": Taught,
    "annealing": Annealed,
    "rail": Rail,
    "mate": Mate,
}
