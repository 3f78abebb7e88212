"""Ghost batch normalisation against plain normalisations of each part."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff.deploy.folding import fold_norms
from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.registry import check_batches
from ms_eff.methods.small_data import GhostBatchNorm, GhostBatchNormSettings
from tests.methods.small_data.problems import batch, network_step
from tests.tolerances import LAYER
from tests.train.helpers import small_net, weights

X = np.random.default_rng(0).standard_normal((8, 4, 3, 3), dtype=np.float32) + 1


def _ghost(network=None, splits: int = 4):
    method = GhostBatchNorm(GhostBatchNormSettings(splits=splits))
    return method, method.change_model(network or small_net(), ModelContext((8, 1, 8, 8)))


@pytest.mark.gate
def test_each_part_is_normalised_by_itself_and_statistics_are_their_mean() -> None:
    _, ghost = _ghost(nn.SequentialCell(nn.BatchNorm2d(4, momentum=0.9)))
    found = ghost.set_train(True)(Tensor(X)).asnumpy()
    means, variances = [], []
    for part in range(4):
        plain = nn.BatchNorm2d(4, momentum=0.9).set_train(True)
        expected = plain(Tensor(X[part::4])).asnumpy()
        np.testing.assert_allclose(found[part::4], expected, atol=LAYER)
        means.append(plain.moving_mean.asnumpy())
        variances.append(plain.moving_variance.asnumpy())
    np.testing.assert_allclose(ghost[0].moving_mean.asnumpy(), np.mean(means, 0), atol=LAYER)
    np.testing.assert_allclose(
        ghost[0].moving_variance.asnumpy(), np.mean(variances, 0), atol=LAYER
    )


@pytest.mark.gate
def test_one_part_is_the_plain_normalisation_in_a_whole_step() -> None:
    images, labels = batch()
    plain = small_net()
    _, ghost = _ghost(splits=1)
    for network in (plain, ghost):
        network_step(network, lr=0.1)(images, labels)
    found = weights(ghost)
    for name, array in weights(plain).items():
        np.testing.assert_allclose(found[name], array, atol=LAYER, err_msg=name)


@pytest.mark.gate
def test_inference_is_the_plain_normalisation_and_folds_away() -> None:
    method, ghost = _ghost()
    images, labels = batch()
    network_step(ghost, lr=0.1)(images, labels)
    plain, values = small_net(1), weights(ghost)
    for parameter in plain.get_parameters():
        parameter.set_data(Tensor(values[parameter.name]))
    outputs = [n.set_train(False)(images).asnumpy() for n in (plain, ghost)]
    np.testing.assert_allclose(*outputs, atol=LAYER)
    assert fold_norms(ghost, (2, 1, 8, 8))[1] == ["1"]
    again = GhostBatchNorm.rebuild(small_net(2), method.plan)
    assert weights(again).keys() == values.keys()


def test_what_cannot_be_split_is_refused() -> None:
    method = GhostBatchNorm(GhostBatchNormSettings(splits=3))
    message = r"data\.batch_size = 8: 'ghost_batch_norm' divides it into 3 equal parts; .* of 3$"
    with pytest.raises(ConfigError, match=message):
        check_batches([method], 8, drop_last=True)
    check_batches([method], 9, drop_last=False)  # the last batch is filled up
    with pytest.raises(PlanError, match="SequentialCell has no batch normalisation"):
        _ghost(nn.SequentialCell(nn.Dense(2, 2)))
