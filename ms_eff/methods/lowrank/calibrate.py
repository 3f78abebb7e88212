"""Run some data through a network, and note the second moments of its layers.

Inputs are read as each layer is called. Gradients are those of zeros that are added to each layer's
output, behind the bias and before the activation. Everything runs in pynative mode, where values
can be read on the way, whatever the backend; the network is given back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from ms_eff.bench.modes import execution_mode, inference
from ms_eff.errors import ConfigError, DataError, first_line
from ms_eff.methods.lowrank.criteria import WEIGHT, Criterion
from ms_eff.methods.lowrank.layers import Layer
from ms_eff.methods.lowrank.moments import Moments, MomentSum, Window
from ms_eff.methods.lowrank.planner import excluded
from ms_eff.methods.lowrank.settings import LowRankSettings

__all__ = ["Batch", "Loss", "collect_moments", "criterion_of", "make_criterion", "taken"]

# inputs, or (inputs, labels); without labels they are drawn from what the network predicts
Batch = np.ndarray | tuple[np.ndarray, np.ndarray | None]
Loss = Callable[[Tensor, Tensor], Tensor]

# pixels or tokens of a sample whose patches are spelled out; of larger maps, a seeded choice
_POSITIONS = 256
# numbers that go in at a time, 13 images at 224: a ResNet-50 then needs about 3 GB. Token ids say
# nothing about memory: there it is a number of sequences
_NUMBERS, _SEQUENCES = 1 << 21, 16


def criterion_of(
    network: nn.Cell,
    layers: Sequence[Layer],
    settings: LowRankSettings,
    calibration: Iterable[Batch] | None,
    loss: Loss | None = None,
) -> Criterion:
    """Return the criterion of some settings, with what it has to know; raises as below."""
    chosen = [layer for layer in layers if not excluded(layer, settings)]
    samples = settings.calibration_samples
    return make_criterion(network, chosen, settings.criterion, calibration, samples, loss)


def make_criterion(
    network: nn.Cell,
    layers: Sequence[Layer],
    name: str,
    calibration: Iterable[Batch] | None,
    samples: int = 256,
    loss: Loss | None = None,
) -> Criterion:
    """Return a criterion with what it has to know about these layers of the network.

    Raises:
        ConfigError: it needs calibration data, and there are none.
        DataError: the network does not take them.
    """
    if name == "weight":
        return WEIGHT
    if calibration is None:
        raise ConfigError(
            f"lowrank.criterion = {name}: needs data; pass calibration, batches of (inputs, labels)"
        )
    matrices = [layer for layer in layers if layer.kind != "embedding"]
    two_sided = name == "two_sided"
    found = collect_moments(
        network, matrices, calibration, samples=samples, gradients=two_sided, loss=loss
    )
    return Criterion(name, found)


def collect_moments(
    network: nn.Cell,
    layers: Sequence[Layer],
    batches: Iterable[Batch],
    *,
    samples: int = 256,
    gradients: bool = True,
    loss: Loss | None = None,
    seed: int = 0,
) -> dict[str, Moments]:
    """Return the second moments of layers over calibration data, by name.

    The network runs in inference mode, so that samples do not see each other and g is each one's
    own gradient. Of maps with more than 256 positions a random choice is looked at.

    Args:
        network: stays as it is.
        layers: dense ones and convolutions of that network; one that is never called is left out.
        batches: NumPy arrays: inputs, or (inputs, labels). Where labels are None, they are drawn
            from the network's own predictions, which makes F the true Fisher matrix (1412.1193).
        samples: how many are taken at most.
        gradients: whether F is wanted; without it labels are not looked at.
        loss: (outputs, labels) -> mean over the batch; cross entropy of logits (.., classes) if
            None.
        seed: of the positions and of labels that are drawn.

    Raises:
        DataError: there is no data, or the network does not take it.
    """
    recorder = _Recorder(layers, np.random.default_rng(seed))
    taken = 0
    with inference(network), execution_mode(ms.PYNATIVE_MODE), recorder.watching():
        for inputs, labels in _pieces(batches, samples):
            try:
                _run(network, recorder, inputs, labels, loss, gradients)
            except (RuntimeError, TypeError, ValueError) as error:
                raise DataError(
                    f"calibration: {type(network).__name__} does not take a batch of "
                    f"{inputs.shape} ({first_line(error)}); give (inputs, labels) as it is "
                    "trained with"
                ) from error
            taken += len(inputs)
    if not taken:
        raise DataError("calibration: no batch came, so nothing could be measured")
    found = {name: total.mean(taken) for name, total in recorder.sums.items()}
    return {name: moments for name, moments in found.items() if moments is not None}


def _run(
    network: nn.Cell,
    recorder: _Recorder,
    inputs: np.ndarray,
    labels: np.ndarray | None,
    loss: Loss | None,
    gradients: bool,
) -> None:
    x = Tensor(inputs.astype(np.int32 if inputs.dtype.kind in "iu" else np.float32))
    recorder.start(len(inputs))
    outputs = network(x)
    if not gradients:
        return
    if labels is None:
        labels = _drawn(_logits(outputs), recorder.rng)
    y = Tensor(labels.astype(np.int32 if labels.dtype.kind in "iu" else np.float32))

    def total() -> Tensor:
        recorder.replay()
        outputs = network(x)
        # per sample: the mean over the batch is undone
        return loss(outputs, y) * len(inputs) if loss else _cross_entropy(_logits(outputs), y)

    _, found = ms.value_and_grad(total, None, weights=recorder.probes)()
    recorder.add(found)


class _Recorder:
    """Adds up what layers see, and holds the zeros that are added to their outputs."""

    def __init__(self, layers: Sequence[Layer], rng: np.random.Generator) -> None:
        self.layers, self.rng = layers, rng
        self.sums = {layer.name: MomentSum(_POSITIONS, rng) for layer in layers}
        self.probes: list[Parameter] = []
        self._owners: list[Layer] = []
        self._next: int | None = None
        self._samples = 0

    def start(self, samples: int) -> None:
        """Begin a batch: its first run notes inputs and makes a probe for each call."""
        self.probes, self._owners, self._next, self._samples = [], [], None, samples

    def replay(self) -> None:
        """Begin a second run of the same batch: it adds the probes, in the order of the calls."""
        self._next = 0

    def add(self, gradients: Sequence[Tensor]) -> None:
        """Add the gradients of the probes."""
        for layer, gradient in zip(self._owners, gradients, strict=True):
            self.sums[layer.name].add_gradients(
                _array(gradient), _window(layer) is not None, self._samples
            )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Listen to the layers; not by hooks, which would compile all graphs again (see counts)."""
        own = [(layer.cell, layer.cell.__dict__.get("construct")) for layer in self.layers]
        flags = [getattr(layer.cell, "activation_flag", None) for layer in self.layers]
        for layer in self.layers:
            layer.cell.__dict__["construct"] = self._listening(layer)
        try:
            yield
        finally:
            for (cell, construct), flag in zip(own, flags, strict=True):
                del cell.__dict__["construct"]
                if construct is not None:
                    cell.__dict__["construct"] = construct
                if flag is not None:
                    cell.activation_flag = flag

    def _listening(self, layer: Layer) -> Any:
        cell, construct = layer.cell, layer.cell.construct
        activation = cell.activation if getattr(cell, "activation_flag", False) else None
        if activation is not None:
            cell.activation_flag = False  # the error of a weight comes in before it

        def listening(x: Tensor, *more: Any) -> Any:
            output = construct(x, *more)
            if self._next is None:
                self.sums[layer.name].add_inputs(_array(x), _window(layer), self._samples)
                zeros = Tensor(np.zeros(output.shape, np.float32), output.dtype)
                self.probes.append(Parameter(zeros, name=f"probe{len(self.probes)}"))
                self._owners.append(layer)
            else:
                output = output + self.probes[self._next]
                self._next += 1
            return output if activation is None else activation(output)

        return listening


def taken(batches: Iterable[Batch], samples: int) -> Iterator[Batch]:
    """Yield batches until there are `samples` in all; no further batch is asked for."""
    left = samples
    for batch in batches:
        yield batch
        left -= len(batch[0] if isinstance(batch, (tuple, list)) else batch)
        if left <= 0:
            return


def _pieces(
    batches: Iterable[Batch], samples: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield batches that memory holds, `samples` in all."""
    left = samples
    for batch in taken(batches, samples):
        inputs, labels = batch if isinstance(batch, (tuple, list)) else (batch, None)
        inputs = np.asarray(inputs)[:left]
        step = _SEQUENCES if inputs.dtype.kind in "iu" else max(_NUMBERS // inputs[0].size, 1)
        for start in range(0, len(inputs), step):
            piece = inputs[start : start + step]
            yield piece, None if labels is None else np.asarray(labels)[start : start + len(piece)]
        left -= len(inputs)


def _window(layer: Layer) -> Window | None:
    """Return the geometry of a convolution, or None of a dense layer."""
    if layer.kind == "dense":
        return None
    cell = layer.cell
    padding = cell.padding if cell.pad_mode == "pad" else 0
    sides = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
    return Window(
        tuple(cell.kernel_size),
        tuple(cell.stride),
        tuple(cell.dilation),
        None if cell.pad_mode == "same" else sides,
    )


def _logits(outputs: Any) -> Tensor:
    return outputs[0] if isinstance(outputs, (tuple, list)) else outputs


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    rows = logits.astype(ms.float32).reshape(-1, logits.shape[-1])
    return ops.cross_entropy(rows, labels.reshape(-1), reduction="sum")


def _drawn(logits: Tensor, rng: np.random.Generator) -> np.ndarray:
    """Draw labels from softmax(logits), by the largest of logits plus Gumbel noise."""
    values = _array(logits).astype(np.float64)
    return np.argmax(values + rng.gumbel(size=values.shape), axis=-1).astype(np.int32)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.astype(ms.float32).asnumpy()
