"""Each optimiser against torch's, over several steps with decay; subsets leave the rest still."""

import numpy as np
import pytest
from mindspore import Parameter, Tensor, mutable

from ms_eff.train.optim import OptimizerState, Update
from ms_eff.train.schedule import learning_rates
from ms_eff.train.settings import TrainSettings
from tests.tolerances import LAYER

SHAPES = {"a.weight": (4, 3), "a.bias": (4,), "b.weight": (2, 4)}
STEPS = 5


def weights_and_grads():
    rng = np.random.default_rng(0)
    weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in SHAPES.items()}
    grads = [
        {n: rng.standard_normal(s).astype(np.float32) for n, s in SHAPES.items()}
        for _ in range(STEPS)
    ]
    return weights, grads


def gradients(step, parameters):
    return mutable(tuple(Tensor(step[p.name]) for p in parameters))


def ours(settings, weights, grads):
    parameters = [Parameter(Tensor(w), name=n) for n, w in weights.items()]
    state = OptimizerState(parameters, settings, learning_rates(settings, STEPS, 0))
    update = Update(state, parameters, ())
    for step in grads:
        update(gradients(step, parameters))
    return {p.name: p.asnumpy() for p in parameters}


def torch_optimizer(torch, settings, parameters):
    decayed = [p for p in parameters.values() if p.ndim > 1]
    others = [p for p in parameters.values() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)
    mu = settings.momentum if settings.optimizer == "momentum" else 0.0
    return torch.optim.SGD(groups, lr=settings.lr, momentum=mu, nesterov=settings.nesterov)


@pytest.mark.parametrize(
    ("optimizer", "extra"),
    [("sgd", {}), ("momentum", {}), ("momentum", {"nesterov": True}), ("adamw", {"eps": 1e-3})],
)
def test_equals_torch(optimizer, extra):
    torch = pytest.importorskip("torch")
    settings = TrainSettings(
        optimizer=optimizer, lr=0.05, schedule="constant", weight_decay=0.1, **extra
    )
    weights, grads = weights_and_grads()
    parameters = {n: torch.nn.Parameter(torch.tensor(w)) for n, w in weights.items()}
    reference = torch_optimizer(torch, settings, parameters)
    for step in grads:
        for name, p in parameters.items():
            p.grad = torch.tensor(step[name])
        reference.step()
    found = ours(settings, weights, grads)
    for name, p in parameters.items():
        np.testing.assert_allclose(found[name], p.detach().numpy(), atol=LAYER, rtol=LAYER)


@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
def test_a_subset_leaves_the_other_weights_and_moments_bitwise_still(optimizer):
    settings = TrainSettings(optimizer=optimizer, lr=0.1, weight_decay=0.1)
    weights, grads = weights_and_grads()
    parameters = [Parameter(Tensor(w), name=n) for n, w in weights.items()]
    state = OptimizerState(parameters, settings, learning_rates(settings, STEPS, 0))
    every, some = Update(state, parameters, ()), Update(state, parameters[:2], ())
    every(gradients(grads[0], parameters))
    weight, moments = parameters[2].asnumpy().copy(), [m.asnumpy().copy() for m in state.moments[2]]
    before = parameters[0].asnumpy().copy()
    some(gradients(grads[1], parameters[:2]))
    assert np.array_equal(parameters[2].asnumpy(), weight)
    for moment, old in zip(state.moments[2], moments, strict=True):
        assert np.array_equal(moment.asnumpy(), old)
    assert not np.array_equal(parameters[0].asnumpy(), before)
    assert int(state.step.asnumpy()) == 2


def test_state_survives_a_round_trip():
    settings = TrainSettings(optimizer="adamw")
    weights, grads = weights_and_grads()
    parameters = [Parameter(Tensor(w), name=n) for n, w in weights.items()]
    state = OptimizerState(parameters, settings, learning_rates(settings, STEPS, 0))
    Update(state, parameters, ())(gradients(grads[0], parameters))
    other = OptimizerState(parameters, settings, learning_rates(settings, STEPS, 0))
    other.load(state.arrays())
    for name, array in other.arrays().items():
        assert np.array_equal(array, state.arrays()[name]), name


def test_biases_have_a_rate_and_a_decay_of_their_own():
    shared = {"lr": 0.1, "schedule": "constant", "weight_decay": 0.08, "decay_norm_and_bias": True}
    settings = TrainSettings(optimizer="sgd", bias_lr_ratio=4.0, **shared)
    weights, grads = weights_and_grads()
    found = ours(settings, weights, grads[:STEPS])
    expected = {name: array.astype(np.float64) for name, array in weights.items()}
    for step in grads:
        for name, w in expected.items():
            ratio = 4.0 if name.endswith("bias") else 1.0
            expected[name] = w - 0.1 * ratio * (step[name] + 0.08 / ratio * w)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=LAYER)


@pytest.mark.gate
@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
def test_a_restart_equals_a_new_optimiser_and_the_rates_go_on(optimizer):
    settings = TrainSettings(optimizer=optimizer, lr=0.05, schedule="linear")
    weights, grads = weights_and_grads()
    parameters = [Parameter(Tensor(w), name=n) for n, w in weights.items()]
    rates = learning_rates(settings, STEPS, 0)
    state = OptimizerState(parameters, settings, rates)
    update = Update(state, parameters, ())
    for step in grads[:2]:
        update(gradients(step, parameters))
    state.restart()
    assert not state.taken.asnumpy().any()
    between = [Parameter(Tensor(p.asnumpy()), name=p.name) for p in parameters]
    other = Update(OptimizerState(between, settings, rates[2:]), between, ())
    for step in grads[2:]:
        update(gradients(step, parameters))
        other(gradients(step, between))
    for one, two in zip(parameters, between, strict=True):
        np.testing.assert_array_equal(one.asnumpy(), two.asnumpy(), err_msg=one.name)


def test_each_weight_counts_its_own_steps_as_in_torch():
    """Two sets in turn, one of them beginning later, and a weight that is in both."""
    torch = pytest.importorskip("torch")
    settings = TrainSettings(optimizer="adamw", lr=0.05, schedule="constant", weight_decay=0.1)
    weights, grads = weights_and_grads()
    parameters = [Parameter(Tensor(w), name=n) for n, w in weights.items()]
    state = OptimizerState(parameters, settings, learning_rates(settings, STEPS, 0))
    updates = [Update(state, some, ()) for some in (parameters[:2], parameters[1:])]
    twins = {n: torch.nn.Parameter(torch.tensor(w)) for n, w in weights.items()}
    optimizer = torch_optimizer(torch, settings, twins)
    for step, which in zip(grads, (0, 0, 1, 1, 0), strict=True):
        some = parameters[:2] if which == 0 else parameters[1:]
        updates[which](gradients(step, some))
        for name, twin in twins.items():
            trains = name in {p.name for p in some}
            twin.grad = torch.tensor(step[name]) if trains else None
        optimizer.step()
    for p in parameters:
        expected = twins[p.name].detach().numpy()
        np.testing.assert_allclose(p.asnumpy(), expected, atol=LAYER, rtol=LAYER, err_msg=p.name)
    assert state.taken.asnumpy().tolist() == [3, 5, 2]


def test_a_state_of_early_versions_had_one_count_for_all():
    settings = TrainSettings(optimizer="adamw")
    parameters = [Parameter(Tensor(w), name=n) for n, w in weights_and_grads()[0].items()]
    state = OptimizerState(parameters, settings, learning_rates(settings, STEPS, 0))
    early = {k: v for k, v in state.arrays().items() if k != "steps_taken"}
    state.load({**early, "step": np.int32(4), "moments_since": np.int32(1)})
    assert state.taken.asnumpy().tolist() == [3, 3, 3]
