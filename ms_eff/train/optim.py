"""Optimisers over MindSpore's fused update kernels, with state that several steps can share.

MindSpore's own optimisers own their moments and their step counter. Methods that alternate between
sets of weights (freezing phases) need several compiled steps over **one** set of moments, and
gradient centralisation must act between weight decay and momentum: hence these few lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from mindspore import dtype as mstype

from ms_eff.train.settings import TrainSettings

__all__ = ["OptimizerState", "Transform", "Update"]

Transform = Callable[[Parameter], Callable[[Tensor], Tensor] | None]
"""Of a weight: what becomes of its decayed gradient before the momentum, or None for nothing."""


class OptimizerState:
    """Moments of all weights, the learning rate table and the step counter.

    Args:
        weights: every parameter that any phase trains.
        settings: optimizer, momentum, betas, eps, weight decay.
        rates: (steps,) learning rates.
    """

    def __init__(
        self, weights: Sequence[Parameter], settings: TrainSettings, rates: np.ndarray
    ) -> None:
        self.settings = settings
        self.position = {w.name: i for i, w in enumerate(weights)}
        slots = {"sgd": (), "momentum": ("momentum",), "adamw": ("mean", "variance")}
        self.moments = [
            tuple(_zeros_like(w, slot) for slot in slots[settings.optimizer]) for w in weights
        ]
        decays = settings.weight_decay
        self.ratios = [settings.bias_lr_ratio if _is_bias(w) else 1.0 for w in weights]
        self.decays = [
            decays / ratio if len(w.shape) > 1 or settings.decay_norm_and_bias else 0.0
            for w, ratio in zip(weights, self.ratios, strict=True)
        ]
        self.rates = Parameter(Tensor(rates), name="learning_rates", requires_grad=False)
        self.step = Parameter(Tensor(0, mstype.int32), name="step", requires_grad=False)
        # of each weight, since its moments began: a set may rest while another trains
        self.taken = Parameter(
            Tensor(np.zeros(len(weights), np.int32)), name="steps_taken", requires_grad=False
        )

    @property
    def last_rate(self) -> float:
        """Learning rate of the last step taken; steps skipped for overflow do not count."""
        return float(self.rates.asnumpy()[max(int(self.step.asnumpy()) - 1, 0)])

    def set_rates(self, rates: np.ndarray) -> None:
        """Put other learning rates in place of all, (steps,) as before."""
        self.rates.set_data(Tensor(rates))

    def restart(self) -> None:
        """Set all moments to zero, as before the first step; the learning rates go on."""
        for moment in (m for slots in self.moments for m in slots):
            moment.set_data(Tensor(np.zeros(moment.shape, np.float32)))
        self.taken.set_data(Tensor(np.zeros(self.taken.shape, np.int32)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a resumed run needs (the rates follow from the config)."""
        return {p.name: p.asnumpy() for p in self._parameters()}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `arrays` returned."""
        if self.taken.name not in arrays:  # early versions counted the steps of all weights
            taken = int(arrays["step"]) - int(arrays.get("moments_since", 0))
            arrays = {**arrays, self.taken.name: np.full(self.taken.shape, taken, np.int32)}
        for p in self._parameters():
            p.set_data(Tensor(arrays[p.name]))

    def _parameters(self) -> list[Parameter]:
        return [self.step, self.taken, *(m for slots in self.moments for m in slots)]


class Update(nn.Cell):
    """One optimiser step on a subset of the weights; the other weights' moments stay as they are.

    As torch: `sgd`: w -= lr g. `momentum`: v = mu v + g, w -= lr v (Nesterov: lr (g + mu v)).
    `adamw` (1711.05101): decoupled decay, then Adam with torch's placement of eps, its biases
    corrected by the steps that each weight has taken.
    """

    def __init__(
        self, state: OptimizerState, weights: Sequence[Parameter], transforms: Sequence[Transform]
    ) -> None:
        super().__init__(auto_prefix=False)
        settings = state.settings
        chosen = [state.position[w.name] for w in weights]
        self.kind = settings.optimizer
        self.weights = ParameterTuple(weights)
        self.count = len(chosen)
        self.decays = tuple(state.decays[i] for i in chosen)
        self.ratios = tuple(state.ratios[i] for i in chosen)
        if self.kind != "sgd":
            self.first = ParameterTuple([state.moments[i][0] for i in chosen])
        if self.kind == "adamw":
            self.second = ParameterTuple([state.moments[i][1] for i in chosen])
            self.taken = state.taken
            self.chosen = Tensor(np.array(chosen, np.int32))
            self.one_more = Tensor(np.isin(range(state.taken.size), chosen).astype(np.int32))
        self.rates, self.step = state.rates, state.step
        self.mu = settings.momentum
        self.beta1, self.beta2 = settings.betas
        self.eps = settings.eps
        # of each weight, chosen here: a compiled graph sees no parameter's name
        self.transforms = tuple(
            tuple(change for t in transforms if (change := t(w)) is not None) for w in weights
        )
        self.nesterov = settings.nesterov
        self.apply_momentum = ops.ApplyMomentum()
        self.apply_adam = ops.Adam()

    def construct(self, grads: tuple[Tensor, ...]) -> Tensor:
        """Update the weights in place; returns the learning rate used."""
        rate = self.rates[self.step]
        self.step += 1
        if self.kind == "adamw":
            self._adamw(grads, rate)
        else:
            self._sgd(grads, rate)
        return rate

    def _sgd(self, grads: tuple[Tensor, ...], rate: Tensor) -> None:
        for i in range(self.count):
            weight, grad, lr = self.weights[i], grads[i], rate * self.ratios[i]
            if self.decays[i] > 0:
                grad = grad + self.decays[i] * weight
            for transform in self.transforms[i]:
                grad = transform(grad)
            if self.kind == "momentum" and self.nesterov:
                # MindSpore 2.9's CPU kernel ignores use_nesterov, so it is spelt out
                velocity = self.mu * self.first[i] + grad
                ops.assign(self.first[i], velocity)
                ops.assign_sub(weight, lr * (grad + self.mu * velocity))
            elif self.kind == "momentum":
                self.apply_momentum(weight, self.first[i], lr, grad, self.mu)
            else:
                ops.assign_sub(weight, lr * grad)

    def _adamw(self, grads: tuple[Tensor, ...], rate: Tensor) -> None:
        self.taken += self.one_more
        done = ops.gather(self.taken, self.chosen, 0).astype(mstype.float32)
        powers1, powers2 = self.beta1**done, self.beta2**done
        # the kernel adds eps before it corrects the bias of the variance; torch adds it after
        every_eps = ops.unstack(self.eps * ops.sqrt(1 - powers2))
        power1, power2 = ops.unstack(powers1), ops.unstack(powers2)
        for i in range(self.count):
            weight, grad, lr = self.weights[i], grads[i], rate * self.ratios[i]
            for transform in self.transforms[i]:
                grad = transform(grad)
            if self.decays[i] > 0:
                ops.assign_sub(weight, lr * self.decays[i] * weight)
            self.apply_adam(
                weight, self.first[i], self.second[i], power1[i], power2[i], lr,
                self.beta1, self.beta2, every_eps[i], grad,
            )  # fmt: skip


def _is_bias(weight: Parameter) -> bool:
    return len(weight.shape) == 1 and weight.name.rpartition(".")[2] in ("bias", "beta")


def _zeros_like(weight: Parameter, slot: str) -> Parameter:
    return Parameter(
        Tensor(np.zeros(weight.shape, np.float32)), f"{slot}.{weight.name}", requires_grad=False
    )
