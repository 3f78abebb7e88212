"""Loss scaling for half precision: static, or dynamic with growth and backoff."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

__all__ = ["LossScale", "Scaled"]


class LossScale(nn.Cell):
    """A loss scale in the graph; dynamic scales halve on overflow and double after `window` steps.

    Args:
        initial: first (or only) scale.
        dynamic: whether it moves.
        window: finite steps before it doubles (MindSpore's and NVIDIA's usual 2000).
    """

    def __init__(self, initial: float, dynamic: bool, window: int = 2000) -> None:
        super().__init__(auto_prefix=False)
        self.dynamic, self.window = dynamic, window
        self.value = Parameter(Tensor(initial, ms.float32), "loss_scale", requires_grad=False)
        self.good = Parameter(Tensor(0, ms.int32), "loss_scale_good", requires_grad=False)

    def scaled(self, forward: nn.Cell) -> nn.Cell:
        """Return `forward` with its loss multiplied by the scale."""
        return Scaled(forward, self.value)

    def unscaled(
        self, loss: Tensor, grads: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Divide the scale out again, say whether all gradients are finite, and move the scale.

        Gradients become float32 first, as the weights are: those of parameters that a network uses
        in float16 arrive in it, where what the scale has saved would be lost again.
        """
        inverse = 1.0 / self.value
        finite = ops.isfinite(loss)
        plain: tuple[Tensor, ...] = ()
        for grad in grads:
            grad = grad.astype(ms.float32) * inverse
            finite = ops.logical_and(finite, ops.isfinite(grad).all())
            plain = (*plain, grad)
        loss = loss * inverse
        if self.dynamic:
            loss = ops.depend(loss, self._move(finite))
        return loss, plain, finite

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state for a checkpoint."""
        return {p.name: p.asnumpy() for p in (self.value, self.good)}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `arrays` returned."""
        for p in (self.value, self.good):
            p.set_data(Tensor(arrays[p.name]))

    def _move(self, finite: Tensor) -> Tensor:
        good = ops.select(finite, self.good + 1, ops.zeros_like(self.good))
        grow = good >= self.window
        factor = ops.select(finite, ops.select(grow, 2.0, 1.0), 0.5).astype(ms.float32)
        value = ops.maximum(self.value * factor, Tensor(1.0, ms.float32))
        done = ops.assign(self.good, ops.select(grow, ops.zeros_like(good), good))
        return ops.depend(ops.assign(self.value, value), done)


class Scaled(nn.Cell):
    """A forward whose loss, and with it every gradient, is multiplied by `scale`."""

    def __init__(self, forward: nn.Cell, scale: Parameter) -> None:
        super().__init__(auto_prefix=False)
        self.forward = forward
        self.scale = scale

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (scaled loss, outputs)."""
        loss, outputs = self.forward(inputs, labels)
        return loss * self.scale, outputs
