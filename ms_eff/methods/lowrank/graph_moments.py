"""Second moments of a deep network's dense layers, block by block, in two compiled graphs.

`calibrate.py` reads values on their way, which only pynative mode allows. Here a graph hands them
out as gradients: an identity whose backward gives its input as the gradient of a probe, and zeros
added to a layer's output, whose gradient is the loss's. Blocks are alike, so one block's graph
serves all, its weights exchanged; memory is one block's, whatever the depth, and what goes from
block to block lies on disk, where a call that was stopped left it for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from ms_eff.errors import PlanError
from ms_eff.methods.lowrank.block_states import BlockStates
from ms_eff.methods.lowrank.layers import Layer, find_layers
from ms_eff.methods.lowrank.moments import Moments, MomentSum
from ms_eff.methods.replace import replaced

__all__ = ["Stack", "collect_by_block", "replace_by_block"]


@dataclass(frozen=True)
class Stack:
    """A network of equal blocks in series.

    Attributes:
        depth: blocks.
        block: (B, N, dim) -> the same; its dense layers, without an activation of their own and
            each called once, are measured.
        weights: gives the arrays of block i under the names of `block`'s parameters.
        head: (hidden (B, N, dim), labels) -> the loss, summed over single predictions.
    """

    depth: int
    block: nn.Cell
    weights: Callable[[int], Mapping[str, np.ndarray]]
    head: nn.Cell


def collect_by_block(
    stack: Stack,
    hidden: np.ndarray,
    labels: np.ndarray,
    scratch: Path,
    after_pass: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[int, dict[str, Moments]]]:
    """Yield each block's number and the moments of its dense layers, the last block first.

    Sums are float64; layers that are fed the same input (q, k and v) share one matrix. What was
    yielded counts as kept once the next is asked for: a call that was stopped is taken up with the
    same arguments behind it, at the pass through a block.

    Args:
        stack: the network.
        hidden: (n, N, dim) what goes into the first block, a row a sample.
        labels: (n, N) of the head.
        scratch: a file to be used meanwhile, (depth + 2) times the size of `hidden`; beside it
            lies what says how far it is.
        after_pass: told how many of the 2 depth passes through a block are done, forward and
            backward.

    Raises:
        PlanError: a layer has an activation.
    """
    graph = _BlockGraph(stack.block)
    states, depth = BlockStates(scratch, hidden, stack.depth), stack.depth
    for i in range(states.done, depth):
        graph.load(stack.weights(i))
        for row, x in enumerate(states[i]):
            states[i + 1][row] = graph.forward(x)
        states.passed(i + 1)
        after_pass(i + 1)
    if states.done == depth:
        stack.head.set_train(False)
        gradient = ms.grad(stack.head)
        for row, x in enumerate(states[depth]):
            found = gradient(Tensor(x[None]), Tensor(labels[row : row + 1]))
            states.outgoing(depth)[row] = found.asnumpy()[0]
        states.passed(depth + 1)
    for i in reversed(range(2 * depth + 1 - states.done)):
        graph.load(stack.weights(i))
        sums = _Sums(graph.names, hidden.shape[1])
        for row, x in enumerate(states[i]):
            # a place of its own: what this pass began with is there until it is done
            states.outgoing(i)[row], seen, sent = graph.backward(x, states.outgoing(i + 1)[row])
            sums.add(seen, sent)
        yield i, sums.means()
        states.passed(2 * depth + 1 - i)
        after_pass(2 * depth - i)
    states.remove()


def replace_by_block(
    stack: Stack,
    hidden: np.ndarray,
    replace: Callable[[int, Mapping[str, Moments]], Mapping[str, np.ndarray]],
    known: Callable[[int], bool] = lambda i: False,
    after_block: Callable[[int], None] = lambda done: None,
) -> None:
    """Replace the weights of one block after the other, each by what the changed ones feed it.

    Args:
        stack: the network.
        hidden: (n, N, dim) what goes into the first block, a row a sample; held in memory.
        replace: (i, moments of block i's dense layers, inputs alone) -> its weights from now on,
            under the names of `stack.weights`.
        known: whether a block's replacement needs no moments any more: it is given none.
        after_block: told how many blocks are done.

    Raises:
        PlanError: a layer has an activation.
    """
    graph = _BlockGraph(stack.block)
    for i in range(stack.depth):
        moments: dict[str, Moments] = {}
        if not known(i):
            graph.load(stack.weights(i))
            sums = _Sums(graph.names, hidden.shape[1])
            for x in hidden:
                _, seen, sent = graph.backward(x, np.zeros_like(x))
                sums.add(seen, sent)
            moments = {name: Moments(m.inputs, None) for name, m in sums.means().items()}
        graph.load(replace(i, moments))
        hidden = np.stack([graph.forward(x) for x in hidden])
        after_block(i + 1)


class _BlockGraph:
    """A block whose layers are tapped, to run forward and backward with any block's weights."""

    def __init__(self, block: nn.Cell) -> None:
        layers = [layer for layer in find_layers(block) if layer.kind == "dense"]
        for layer in layers:
            if getattr(layer.cell, "activation_flag", False):
                raise PlanError(
                    f"layer '{layer.name}': its gradient lies behind its activation; make that a "
                    "cell of its own"
                )
        self.names = [layer.name for layer in layers]
        taps = [_Tapped(layer) for layer in layers]
        swaps = [(layer.cell, tap) for layer, tap in zip(layers, taps, strict=True)]
        self.block = replaced(block, swaps).set_train(False)
        self._parameters = {
            name.replace(".layer.", "."): parameter
            for name, parameter in self.block.parameters_and_names()
        }
        self._taps = taps
        self._product: _Product | None = None

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put a block's weights in."""
        for name, array in arrays.items():
            parameter = self._parameters[name]
            parameter.set_data(Tensor(array, parameter.dtype))

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Map one sample (N, dim)."""
        self._probe(len(x))
        return self.block(Tensor(x[None])).asnumpy()[0]

    def backward(
        self, x: np.ndarray, gradient: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """Return the gradient at x, and each layer's inputs and output gradients (1, N, .)."""
        self._probe(len(x))
        found, probes = self._gradient(Tensor(x[None]), Tensor(gradient[None]))
        arrays = [probe.astype(ms.float32).asnumpy() for probe in probes]
        return found.asnumpy()[0], arrays[::2], arrays[1::2]

    def _probe(self, positions: int) -> None:
        if self._product is not None:
            return
        for tap in self._taps:
            tap.set_probes(positions)
        self._product = _Product(self.block)
        self._product.set_train(False)
        probes = ParameterTuple([p for tap in self._taps for p in (tap.seen, tap.sent)])
        self._gradient = _Backward(self._product, probes).set_train(False)


class _Tapped(nn.Cell):
    """A layer whose input and output gradient come out as gradients of two probes of zeros."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(auto_prefix=False)
        self.layer, self.sizes, self.name = layer.cell, layer.shape, layer.name
        self.tap = _Tap()
        self.seen = self.sent = None

    def set_probes(self, positions: int) -> None:
        """Make the probes, for samples of that many positions."""
        S, C = self.sizes
        kind = self.layer.weight.dtype
        zeros = (Tensor(np.zeros((1, positions, n), np.float32), kind) for n in (C, S))
        # attributes that hold None are plain ones until they are deleted
        del self.seen, self.sent
        self.seen = Parameter(next(zeros), name=f"seen.{self.name}")
        self.sent = Parameter(next(zeros), name=f"sent.{self.name}")

    def construct(self, x: Tensor) -> Tensor:
        """Return what the layer does."""
        return self.layer(self.tap(x, self.seen)) + self.sent


class _Tap(nn.Cell):
    """The identity; backward, the probe's gradient is the input itself."""

    def construct(self, x: Tensor, probe: Tensor) -> Tensor:
        """Return x."""
        return x

    def bprop(self, x: Tensor, probe: Tensor, out: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
        """Pass the gradient on, and give x to the probe."""
        return dout, x


class _Product(nn.Cell):
    """The block's output times a gradient: its own gradient is the block's, run backward."""

    def __init__(self, block: nn.Cell) -> None:
        super().__init__(auto_prefix=False)  # the network's names stay
        self.block = block

    def construct(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Return the sum of products."""
        return ops.reduce_sum(self.block(x) * gradient)


class _Backward(nn.Cell):
    """Gradients in a cell: a bare `ms.grad` keeps the weights of its first call (2.9)."""

    def __init__(self, product: _Product, probes: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.product, self.probes = product, probes
        self.gradient = ops.GradOperation(get_all=True, get_by_list=True)

    def construct(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the gradient at x, and those of the probes."""
        inputs, probes = self.gradient(self.product, self.probes)(x, gradient)
        return inputs[0], probes


class _Sums:
    """What has been added up of one block's layers."""

    def __init__(self, names: Sequence[str], positions: int) -> None:
        rng = np.random.default_rng(0)  # draws nothing: every position is looked at
        self.sums = {name: MomentSum(positions, rng) for name in names}
        self.owners: dict[str, str] = {}
        self.samples = 0

    def add(self, seen: Sequence[np.ndarray], sent: Sequence[np.ndarray]) -> None:
        """Add the inputs and output gradients of one sample."""
        inputs = dict(zip(self.sums, seen, strict=True))
        self.owners = self.owners or _owners(inputs)
        for (name, total), gradient in zip(self.sums.items(), sent, strict=True):
            if self.owners[name] == name:
                total.add_inputs(inputs[name], None, 1)
            total.add_gradients(gradient, False, 1)
        self.samples += 1

    def means(self) -> dict[str, Moments]:
        """Return the moments; layers of one input share its matrix."""
        owned = {name: self.sums[name].mean(self.samples) for name in set(self.owners.values())}
        result = {}
        for name, total in self.sums.items():
            own = owned[self.owners[name]]
            if own is not None:
                result[name] = Moments(own.inputs, total.mean_gradients())
        return result


def _owners(seen: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return for each layer the first one before it that was fed the very same array."""
    owners: dict[str, str] = {}
    for name, x in seen.items():
        same = (o for o in owners if owners[o] == o and np.array_equal(seen[o], x))
        owners[name] = next(same, name)
    return owners
