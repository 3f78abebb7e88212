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
        self.changes = any(self.transforms)
        self.nesterov = settings.nesterov
        self.decay = settings.weight_decay
        self.each = ops.HyperMap()
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
        grads = self._transformed(self.each(_one_decayed, self.weights, self.decays, grads))
        if self.kind == "momentum" and self.nesterov:
            update = ops.partial(_one_nesterov, self.mu, rate)
            self.each(update, self.weights, self.ratios, self.first, grads)
        elif self.kind == "momentum":
            update = ops.partial(_one_momentum, self.apply_momentum, self.mu, rate)
            self.each(update, self.weights, self.ratios, self.first, grads)
        else:
            self.each(ops.partial(_one_sgd, rate), self.weights, self.ratios, grads)

    def _adamw(self, grads: tuple[Tensor, ...], rate: Tensor) -> None:
        grads = self._transformed(grads)
        self.taken += self.one_more
        done = ops.gather(self.taken, self.chosen, 0).astype(mstype.float32)
        powers1, powers2 = self.beta1**done, self.beta2**done
        # the kernel adds eps before it corrects the bias of the variance; torch adds it after
        every_eps = ops.unstack(self.eps * ops.sqrt(1 - powers2))
        power1, power2 = ops.unstack(powers1), ops.unstack(powers2)
        # a weight's rate times its decay is the same for all that decay
        update = ops.partial(
            _one_adamw, self.apply_adam, self.beta1, self.beta2, rate, rate * self.decay
        )
        self.each(
            update, self.weights, self.ratios, self.decays, self.first, self.second,
            power1, power2, every_eps, grads,
        )  # fmt: skip

    def _transformed(self, grads: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not self.changes:
            return grads
        changed = []
        for i in range(self.count):
            grad = grads[i]
            for transform in self.transforms[i]:
                grad = transform(grad)
            changed.append(grad)
        return tuple(changed)


# of one weight: `HyperMap` unfolds them over all much faster than the compiler unfolds a loop

_one_decayed = ops.MultitypeFuncGraph("decayed")
_one_sgd = ops.MultitypeFuncGraph("sgd")
_one_momentum = ops.MultitypeFuncGraph("momentum")
_one_nesterov = ops.MultitypeFuncGraph("nesterov")
_one_adamw = ops.MultitypeFuncGraph("adamw")


@_one_decayed.register("Tensor", "Number", "Tensor")
def _decayed_one(weight: Tensor, decay: float, grad: Tensor) -> Tensor:
    if decay > 0:
        grad = ops.Add()(grad, ops.Mul()(weight, decay))
    return grad


@_one_sgd.register("Tensor", "Tensor", "Number", "Tensor")
def _sgd_one(rate: Tensor, weight: Tensor, ratio: float, grad: Tensor) -> Tensor:
    return ops.AssignSub()(weight, ops.Mul()(grad, _own(rate, ratio)))


@_one_momentum.register("Function", "Number", "Tensor", "Tensor", "Number", "Tensor", "Tensor")
def _momentum_one(
    apply: ops.Primitive, mu: float, rate: Tensor, weight: Tensor, ratio: float, first: Tensor,
    grad: Tensor,
) -> Tensor:  # fmt: skip
    return apply(weight, first, _own(rate, ratio), grad, mu)


@_one_nesterov.register("Number", "Tensor", "Tensor", "Number", "Tensor", "Tensor")
def _nesterov_one(
    mu: float, rate: Tensor, weight: Tensor, ratio: float, first: Tensor, grad: Tensor
) -> Tensor:
    # MindSpore 2.9's CPU kernel ignores use_nesterov, so it is spelt out
    velocity = mu * first + grad
    ops.assign(first, velocity)
    return ops.assign_sub(weight, _own(rate, ratio) * (grad + mu * velocity))


@_one_adamw.register(
    "Function", "Number", "Number", "Tensor", "Tensor", "Tensor", "Number", "Number", "Tensor",
    "Tensor", "Tensor", "Tensor", "Tensor", "Tensor",
)  # fmt: skip
def _adamw_one(
    apply: ops.Primitive, beta1: float, beta2: float, rate: Tensor, shrink: Tensor,
    weight: Tensor, ratio: float, decay: float, first: Tensor, second: Tensor,
    power1: Tensor, power2: Tensor, eps: Tensor, grad: Tensor,
) -> Tensor:  # fmt: skip
    if decay > 0:
        ops.AssignSub()(weight, ops.Mul()(weight, shrink))
    return apply(weight, first, second, power1, power2, _own(rate, ratio), beta1, beta2, eps, grad)[
        0
    ]


def _own(rate: Tensor, ratio: float) -> Tensor:
    return rate if ratio == 1 else ops.Mul()(rate, ratio)


def _is_bias(weight: Parameter) -> bool:
    return len(weight.shape) == 1 and weight.name.rpartition(".")[2] in ("bias", "beta")


def _zeros_like(weight: Parameter, slot: str) -> Parameter:
    return Parameter(
        Tensor(np.zeros(weight.shape, np.float32)), f"{slot}.{weight.name}", requires_grad=False
    )
