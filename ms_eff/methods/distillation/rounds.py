"""The generator's training beside the student's: a round of steps before each hundred of these."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mindspore import Tensor, nn

from ms_eff.bench.modes import inference
from ms_eff.data.order import by_length
from ms_eff.methods.base import RunStart
from ms_eff.methods.distillation import core
from ms_eff.methods.distillation.core import Purpose
from ms_eff.methods.distillation.generator import Draw, Generator, Masking
from ms_eff.methods.distillation.mate import AdversarialForward, Filler, MaskedForward
from ms_eff.methods.distillation.settings import DistillationSettings
from ms_eff.methods.distillation.teacher import Teacher
from ms_eff.train.optim import OptimizerState
from ms_eff.train.settings import TrainSettings
from ms_eff.train.step import Step, TrainStep

__all__ = ["Rounds"]

_GENERATOR = "generator/"
_OPTIMIZER = "optimizer/"


class Rounds:
    """MATE-KD's generator with its optimiser, its batches and its random numbers.

    Its batches are drawn from the training samples beside the student's (ours), so that the student
    sees every sample once an epoch. All draws follow from the seed and how many steps were done.

    Args:
        settings: of the method.
        run: model, samples, batch size, place among the workers.
        teacher: of the same vocabulary.
        epochs: of the run, at most.
        seed: of the run.

    Attributes:
        steps: of the student, done or about to be.
    """

    def __init__(
        self,
        settings: DistillationSettings,
        run: RunStart,
        teacher: Teacher,
        epochs: int,
        seed: int,
    ) -> None:
        self.settings, self.seed, self.steps = settings.generator, seed, 0
        self.split, self.worker, self.batch = run.split, run.worker, run.batch_size
        self.tell = run.tell
        longest = self.split.image_shape[-1]
        table = teacher.network.token_table.asnumpy()
        self.generator = Generator(table, longest, self.settings.depth, seed)
        masking = Masking(settings.mask, _special_ids(run))
        draw = Draw(len(table), self.settings.temperature)
        self.filler = Filler(self.generator, masking, draw, self.batch, longest)
        self.forward = AdversarialForward(run.model, teacher, self.filler)
        steps = epochs * -(-len(self.split) // (self.batch * self.worker.size))  # at most
        rounds = core.rounds_before(max(steps, 1), self.settings.student_steps)
        rates = np.full(rounds * self.settings.steps, self.settings.lr, np.float32)
        self.optimizer = self._optimizer(rates)
        self.step = self._step(self.forward, self.optimizer)

    def before_step(self) -> None:
        """Train the generator if it is its turn, and put in the student's random numbers."""
        if self.steps == 0 and self.settings.warmup_steps:
            self._warm_up()
        if self.steps % self.settings.student_steps == 0:
            self._round(self.steps // self.settings.student_steps)
        self._shuffle(Purpose.STUDENT_MASKS, self.steps)
        self.steps += 1

    def _round(self, number: int) -> None:
        count = self.settings.steps
        with inference(self.forward):  # the student's dropout rests, and where it stands stays
            for i, (inputs, labels) in enumerate(
                self._batches(Purpose.GENERATOR_BATCHES, number, count)
            ):
                self._shuffle(Purpose.GENERATOR_MASKS, number * count + i)
                self.step(inputs, labels)

    def _warm_up(self) -> None:
        """Train the generator as a masked language model; nothing of it but the weights is kept."""
        count = self.settings.warmup_steps
        falling = self.settings.warmup_lr * (1 - np.arange(count) / count)
        step = self._step(MaskedForward(self.filler), self._optimizer(falling.astype(np.float32)))
        losses = []
        for i, (inputs, labels) in enumerate(self._batches(Purpose.WARMUP_BATCHES, 0, count)):
            self._shuffle(Purpose.WARMUP_MASKS, i)
            losses.append(float(step(inputs, labels)[0].asnumpy()))
        tenth = max(count // 10, 1)
        first, last = (float(np.mean(part)) for part in (losses[:tenth], losses[-tenth:]))
        self.tell(
            f"distillation: generator learned masked tokens for {count} steps, loss {first:.2f} to "
            f"{last:.2f}"
        )

    def _optimizer(self, rates: np.ndarray) -> OptimizerState:
        train = TrainSettings(optimizer="adamw", weight_decay=0.0)
        return OptimizerState(self.generator.trainable_params(), train, rates)

    def _step(self, forward: nn.Cell, optimizer: OptimizerState) -> TrainStep:
        weights = tuple(self.generator.trainable_params())
        return TrainStep(
            Step(self.generator, forward, weights),
            optimizer,
            clip_norm=self.settings.clip_norm,
            world_size=self.worker.size,
        )

    def _shuffle(self, purpose: Purpose, step: int) -> None:
        number = step * self.worker.size + self.worker.rank
        self.filler.shuffle(core.stream(purpose, self.seed, number))

    def _batches(
        self, purpose: Purpose, number: int, count: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw batches of like length, this worker's share of each."""
        rng = core.stream(purpose, self.seed, number)
        together = self.batch * self.worker.size
        wanted, size = count * together, len(self.split)
        order = np.concatenate([rng.permutation(size) for _ in range(-(-wanted // size))])[:wanted]
        lengths = self.split.lengths
        if lengths is not None:
            order = by_length(order, lengths, together, rng)
        for start in range(0, wanted, together):
            everybody = order[start : start + together]
            own = everybody[self.worker.rank * self.batch :][: self.batch]
            found = self.split.batch(own, None)
            if lengths is not None:
                found = self.split.cut(found, int(lengths[everybody].max()))
            inputs, labels = found
            yield Tensor(inputs), Tensor(labels)

    # state

    def state(self) -> dict[str, np.ndarray]:
        """Return the generator's weights, its optimiser, and how far the student is."""
        weights = {_GENERATOR + p.name: p.asnumpy() for p in self.generator.get_parameters()}
        moments = {_OPTIMIZER + name: array for name, array in self.optimizer.arrays().items()}
        return {**weights, **moments, "steps": np.array(self.steps, np.int64)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` returned."""
        for parameter in self.generator.get_parameters():
            parameter.set_data(Tensor(state[_GENERATOR + parameter.name]))
        self.optimizer.load(
            {k.removeprefix(_OPTIMIZER): v for k, v in state.items() if k.startswith(_OPTIMIZER)}
        )
        self.steps = int(state["steps"])


def _special_ids(run: RunStart) -> tuple[int, ...]:
    first = np.arange(min(len(run.split), 1000))
    inputs = np.asarray(run.split.batch(first, None)[0], np.int64)
    if inputs.ndim == 3:
        return core.special_ids(inputs[:, 0], inputs[:, 1].sum(1))
    return core.special_ids(inputs, np.full(len(inputs), inputs.shape[1]))
