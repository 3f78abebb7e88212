from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from ms_eff import models
from ms_eff.errors import ConfigError
from ms_eff.models.weights import load_weights
from tests.tolerances import FP32


def test_parameters_are_the_published_count() -> None:
    network = models.build("efficientnet_lite0")
    assert sum(p.size for p in network.trainable_params()) == 4_652_008


@pytest.mark.gate
@pytest.mark.parametrize("side", [64, 57])
def test_forward_equals_the_torch_twin_from_its_weight_file(side, tmp_path) -> None:
    torch = pytest.importorskip("torch")
    from cross_check.twins.efficientnet import EfficientNetLite0

    torch.manual_seed(0)
    twin = EfficientNetLite0(num_classes=7).eval()
    for module in twin.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
    torch.save(twin.state_dict(), tmp_path / "lite0.pth")
    cell = models.build("efficientnet_lite0", num_classes=7)
    (note, *_) = load_weights(cell, tmp_path / "lite0.pth")
    assert note.endswith("efficientnet_pytorch names")
    images = np.random.default_rng(0).standard_normal((2, 3, side, side), dtype=np.float32)
    with torch.no_grad():
        expected = twin(torch.from_numpy(images)).numpy()
    found = cell.set_train(False)(ms.Tensor(images)).asnumpy()
    np.testing.assert_allclose(found, expected, atol=FP32 * np.abs(expected).max(), rtol=FP32)


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigError, match="num_classes: expected at least 1, got 0"):
        models.build("efficientnet_lite0", num_classes=0)
