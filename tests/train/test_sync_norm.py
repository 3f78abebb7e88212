"""Batch normalisation over all workers; with one worker's sums it is the plain one."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from ms_eff.errors import ConfigError
from ms_eff.methods.small_data.ghost import apply_ghost_batch_norm
from ms_eff.train.sync_norm import SyncBatchNorm, synchronised
from tests.tolerances import LAYER
from tests.train.helpers import small_net


class Alone(nn.Cell):
    """Stands for the sum over workers, where there is one."""

    def construct(self, x):
        return x


class Weighed(nn.Cell):
    """A number that depends on every output."""

    def __init__(self, norm, weights):
        super().__init__(auto_prefix=False)
        self.norm, self.weights = norm, weights

    def construct(self, x):
        return (self.norm(x) * self.weights).sum()


def pair(kind, channels=3):
    plain = kind(channels, eps=1e-3, momentum=0.8)
    rng = np.random.default_rng(0)
    for p in plain.get_parameters():
        p.set_data(Tensor(rng.uniform(0.5, 1.5, p.shape).astype(np.float32)))
    cell = SyncBatchNorm(plain, 1)
    cell.together = Alone()
    return plain, cell


@pytest.mark.gate
@pytest.mark.parametrize(
    ("kind", "shape"), [(nn.BatchNorm2d, (6, 3, 4, 5)), (nn.BatchNorm1d, (6, 3))]
)
def test_one_workers_batch_is_normalised_as_by_the_plain_cell(kind, shape):
    plain, cell = pair(kind)
    x = 3 + 2 * np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    weights = Tensor(np.random.default_rng(2).standard_normal(shape, dtype=np.float32))
    results = []
    for norm in (plain, cell):
        norm.set_train(True)
        grad = ms.value_and_grad(Weighed(norm, weights), 0, norm.trainable_params())
        value, (to_input, to_weights) = grad(Tensor(x))
        moved = [norm.moving_mean, norm.moving_variance]
        results.append([value, to_input, *to_weights, *(p.value() for p in moved)])
        norm.set_train(False)
        results[-1].append(norm(Tensor(x)))
    for expected, found in zip(*results, strict=True):
        scale = float(ops.abs(expected).max().asnumpy())
        difference = np.abs(expected.asnumpy() - found.asnumpy()).max()
        assert difference <= LAYER * max(scale, 1.0)


def test_names_stay_so_that_checkpoints_fit():
    net = small_net()
    synced = synchronised(net, 2)
    assert [p.name for p in synced.get_parameters()] == [p.name for p in net.get_parameters()]
    assert isinstance(synced[1], SyncBatchNorm)
    assert synchronised(net, 1) is net


def test_networks_it_means_nothing_to_are_refused():
    with pytest.raises(ConfigError, match="no batch normalisation"):
        synchronised(nn.SequentialCell(nn.Dense(2, 2)), 2)
    with pytest.raises(ConfigError, match="GhostBatchNorm looks at parts"):
        synchronised(apply_ghost_batch_norm(small_net(), 2)[0], 2)
