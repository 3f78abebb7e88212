"""The one interface of every method: four kinds of hook, each optional.

A method may change the model, change the step, act at step and epoch ends, and choose the data.
The trainer calls the hooks in the order of the config's `methods` list and knows no method by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from mindspore import Parameter, Tensor, nn

from ms_eff.section import Section

if TYPE_CHECKING:
    from pathlib import Path

    from ms_eff.data.base import Split
    from ms_eff.runtime import Worker
    from ms_eff.train.evaluate import Scored
    from ms_eff.train.settings import TrainSettings
    from ms_eff.train.step import Step

__all__ = ["EpochEnd", "Method", "ModelContext", "RunStart", "StepBegin", "StepEnd"]


@dataclass(frozen=True)
class ModelContext:
    """What a method may need to know when it changes the model.

    Attributes:
        input_shape: shape of one input with its batch axis, as the model takes it.
        calibration: yields (images, labels) NumPy batches of training data without augmentation.
        loss: the training loss, (outputs, labels) -> scalar.
        trained: whether the weights are worth keeping (loaded or trained before).
        precision: the level the model is to be trained at: `O0`, `O2` or `O3`.
        dense: where methods are only checked, a network as it is before any of them.
    """

    input_shape: tuple[int, ...]
    calibration: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]] | None = None
    loss: Callable[[Tensor, Tensor], Tensor] | None = None
    trained: bool = False
    precision: str = "O0"
    dense: nn.Cell | None = None


@dataclass(frozen=True)
class RunStart:
    """What a method may need to know of a run before its first step.

    Attributes:
        labels: (N,) class of each training sample.
        classes: name of each class.
        batch_size: samples in a batch of this worker.
        counted: how many of so many samples an epoch really trains on (`data.drop_last`).
        show: a training sample for the report: `{"text": ...}` or `{"png": base64}`.
        tell: says a line to the user.
        model: the network in training, other methods' changes included.
        split: the training samples.
        worker: this process's place among several.
        settings: how the run trains.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    batch_size: int
    counted: Callable[[int], int]
    show: Callable[[int], dict[str, str]]
    tell: Callable[[str], None]
    model: nn.Cell
    split: Split
    worker: Worker
    settings: TrainSettings


@dataclass(frozen=True)
class StepBegin:
    """What comes next, for methods that watch steps.

    Attributes:
        epoch: from 0.
        indices: (B,) sample indices of this worker's batch; -1 marks filling.
    """

    epoch: int
    indices: np.ndarray


@dataclass(frozen=True)
class StepEnd:
    """What happened in one training step, for methods that watch it.

    Attributes:
        epoch: from 0.
        step: steps done since the start of training, this one included.
        indices: (B,) sample indices of this step, all workers' batches in order of rank; -1 marks
            filling.
        outputs: the model's outputs for them (a Tensor: reading it waits for the device).
    """

    epoch: int
    step: int
    indices: np.ndarray
    outputs: Tensor


@dataclass(frozen=True)
class EpochEnd:
    """What a method sees when an epoch is over.

    Attributes:
        epoch: the epoch that ended, from 0.
        epochs: how many there will be.
        model: the network in training.
        predict: runs the model in inference mode over given training indices -> (n, C) logits.
        score: of the evaluation after the epoch, or None if there was none.
        restart: makes the optimiser forget its moments, for a loss that has nothing to do with the
            one before.
    """

    epoch: int
    epochs: int
    model: nn.Cell
    predict: Callable[[np.ndarray], np.ndarray]
    score: Scored | None
    restart: Callable[[], None]


@dataclass
class Method:
    """Base of all methods: every hook does nothing until a subclass says otherwise.

    Attributes:
        settings: the validated block of the config.
        seed: the run's seed; all randomness of the method derives from it.
        plan: set by `change_model`: JSON that `rebuild` needs to change another copy alike, or
            None if the architecture stays. On a resumed run it is given back instead.
        report: set by `change_model` or `on_train_end`: JSON for results and the HTML report, or
            None.
        epochs: set before anything else: how many epochs the run has.
        dense: set by the experiment: where the checkpoint of the network before any method will lie
            once training starts, or None if the run makes none.
    """

    settings: Section
    seed: int = 0
    plan: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    epochs: int = 0
    dense: Path | None = None

    # of the class: the key in a config; what results call the changed model; names of methods
    # that it cannot be combined with; whether it watches every step (turns sinking off); whether it
    # counts on a number of epochs, which a time budget leaves open; whether each of its batches has
    # to be full of samples (`data.drop_last`); the tasks of `ms_eff.train.tasks` that it has a
    # meaning for
    name: ClassVar[str] = ""
    stage: ClassVar[str] = "compressed"
    conflicts: ClassVar[Sequence[str]] = ()
    watches_steps: ClassVar[bool] = False
    counts_epochs: ClassVar[bool] = False
    full_batches: ClassVar[bool] = False
    tasks: ClassVar[Sequence[str]] = ("classification", "language")

    def excludes(self) -> Sequence[str]:
        """Return the names of methods that it cannot be combined with, as it is set."""
        return self.conflicts

    def watches(self) -> bool:
        """Tell whether it watches every step, as it is set."""
        return self.watches_steps

    def counts(self) -> bool:
        """Tell whether it counts on a number of epochs, as it is set."""
        return self.counts_epochs

    def changes_loss(self) -> bool:
        """Tell whether it puts another forward into the step, as it is set."""
        return False

    def needs_plain_loss(self) -> bool:
        """Tell whether none that puts another forward in may come before it, as it is set."""
        return False

    def parts(self) -> int:
        """Return into how many equal parts it divides what it gets of a batch, as it is set."""
        return 1

    def on_start(self, run: RunStart) -> None:
        """Look at the run before its first step, or before it is resumed."""

    # 1. the model
    def check(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Refuse at start what would be refused hours later, such as a missing file.

        Args:
            model: untrained; what the methods before this one make of it, as far as they tell.
            context: as for `change_model`.

        Returns:
            What `change_model` will make of it if that costs nothing, else the model itself.
        """
        return model

    def change_model(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Return the changed network; the given one is not used again."""
        return model

    @classmethod
    def rebuild(cls, model: nn.Cell, plan: dict[str, Any]) -> nn.Cell:
        """Give a freshly built model the shapes of a saved plan; its weights are loaded later."""
        return model

    # 2. the step
    def own_weights(self) -> Sequence[Parameter]:
        """Return what is trained beside the network and not part of it (asked after `on_start`)."""
        return ()

    def phase(self, epoch: int) -> str:
        """Name the compiled step that epoch needs; equal names share one compilation."""
        return ""

    def change_step(self, step: Step, phase: str) -> Step:
        """Return the step with this method in it, for that phase."""
        return step

    # 3. step and epoch ends
    def on_step_begin(self, event: StepBegin) -> None:
        """Prepare for one step (only if it `watches`)."""

    def on_step_end(self, event: StepEnd) -> None:
        """Look at one step (only if it `watches`)."""

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Act between two epochs."""

    def on_train_end(self) -> None:
        """Conclude, once the last epoch is over (now or in an earlier call); may set `report`."""

    # 4. the data
    def subset_size(self, epoch: int, size: int) -> int:
        """Return how many of `size` samples that epoch trains on; known before training."""
        return size

    def subset(self, epoch: int, indices: np.ndarray) -> np.ndarray:
        """Return the samples of that epoch, chosen among `indices`."""
        return indices

    # state
    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that a resumed run needs (they go into the checkpoint)."""
        return {}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` returned."""
