"""Latency and throughput of networks side by side: inference, and the whole training step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Literal

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_eff.bench.modes import execution_mode, inference, same_weights_after, training
from ms_eff.bench.timers import Comparison, compare
from ms_eff.errors import ConfigError
from ms_eff.train.tasks import task_of

__all__ = ["MomentumStep", "compare_models", "measure"]

Kind = Literal["forward", "train_step"]
StepMaker = Callable[[nn.Cell], Callable[[Tensor, Tensor], Any]]


class MomentumStep(nn.Cell):
    """Forward, cross-entropy, gradients and a momentum update, compiled as one graph.

    Args:
        model: (B, ...) -> (B, C) logits, or token ids (B, L) -> (B, L, V).
    """

    def __init__(self, model: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.model = model
        self.loss = task_of(model).loss()
        self.weights = ms.ParameterTuple(model.trainable_params())
        # a rate too small to blow up on noise; the work does not depend on it
        self.optimizer = nn.Momentum(self.weights, learning_rate=1e-4, momentum=0.9)
        self.gradient = ms.value_and_grad(self._forward, None, self.weights)

    def construct(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, after the update."""
        loss, gradients = self.gradient(inputs, labels)
        return ops.depend(loss, self.optimizer(gradients))

    def _forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return self.loss(self.model(inputs), labels)


def measure(
    models: Mapping[str, nn.Cell],
    input_shape: Sequence[int],
    *,
    kinds: Sequence[Kind] = ("forward", "train_step"),
    warmup: int = 3,
    runs: int = 20,
    dtype: Any = None,
    make_step: StepMaker = MomentumStep,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure all models in one process, in turns, in the mode that is set.

    Args:
        models: networks by name; the first is what the others' speed-up is against. Weights,
            statistics and modes are put back afterwards.
        input_shape: of the input, batch axis first.
        kinds: what to measure.
        warmup: rounds thrown away (they compile).
        runs: rounds that count.
        dtype: of the input; by default the first network's `input_dtype`, or float32.
        make_step: model -> compiled step of (inputs, labels).
        seed: of the random inputs and labels.

    Returns:
        By model and kind: median, p10, p90 and inter-quartile range in milliseconds, runs, batch,
        throughput in samples a second, and `speedup` (paired with the first model, with spread).

    Raises:
        ConfigError: no model is given, or one gives no logits to train on.
    """
    if not models:
        raise ConfigError("models: expected at least one network to measure, got none")
    results: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in models}
    baseline = next(iter(models))
    for kind in kinds:
        comparison = compare_models(models, input_shape, kind, warmup, runs, dtype, make_step, seed)
        for name in models:
            taken = comparison.summary(name)
            results[name][kind] = {
                **taken.to_dict(),
                "batch": input_shape[0],
                "throughput_per_s": input_shape[0] * 1000.0 / taken.median_ms,
                "speedup": comparison.speedup(name, baseline).to_dict(),
            }
    return results


def compare_models(
    models: Mapping[str, nn.Cell],
    input_shape: Sequence[int],
    kind: Kind,
    warmup: int = 3,
    runs: int = 20,
    dtype: Any = None,
    make_step: StepMaker = MomentumStep,
    seed: int = 0,
) -> Comparison:
    """Return the raw samples behind `measure`, for one kind; arguments are the same."""
    rng = np.random.default_rng(seed)
    own = next((getattr(model, "input_dtype", None) for model in models.values()), None)
    kind_of_input = dtype or own or ms.float32
    values = rng.standard_normal(input_shape)
    if kind_of_input in (ms.int32, ms.int64):  # token ids: small and not negative
        values = np.abs(values)
    inputs = Tensor(values, kind_of_input)
    with ExitStack() as borrowed:
        for model in models.values():
            for context in _borrow(model, kind):
                borrowed.enter_context(context)
        if kind == "forward":
            work = {name: _call(model, inputs) for name, model in models.items()}
        else:
            work = {
                name: _call(make_step(model), inputs, _labels(name, model, inputs, rng))
                for name, model in models.items()
            }
        return compare(work, warmup, runs)


def _borrow(model: nn.Cell, kind: Kind) -> list[AbstractContextManager[nn.Cell]]:
    return [inference(model)] if kind == "forward" else [same_weights_after(model), training(model)]


def _call(function: Callable[..., Any], *arguments: Tensor) -> Callable[[], Any]:
    return lambda: function(*arguments)


def _labels(name: str, model: nn.Cell, inputs: Tensor, rng: np.random.Generator) -> Tensor:
    with execution_mode(ms.PYNATIVE_MODE):  # only a shape is wanted: no graph is compiled for it
        outputs = model(inputs)
    task = task_of(model)
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if not isinstance(shape, tuple) or len(shape) != len(task.axes):
        raise ConfigError(
            f"models.{name}: a training step needs ({', '.join(task.axes)}) logits, got {shape}; "
            "measure kind 'forward' only, or wrap the model"
        )
    return task.labels(inputs, shape, rng)
