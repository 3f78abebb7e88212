"""MindSpore Lite for real, where `make lite` has put it."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from ms_eff.deploy.export import export
from ms_eff.deploy.lite import Lite
from ms_eff.deploy.operators import ExportError
from ms_eff.errors import SetupError
from ms_eff.methods.spatiotemporal import apply_spatiotemporal
from tests.lite import lite_or_skip
from tests.methods.spatiotemporal.networks import OneBlock, lively
from tests.tolerances import EXPORT

SHAPE = (1, 4, 3, 8, 8)


@pytest.fixture(scope="module")
def lite() -> Lite:
    return lite_or_skip()


@pytest.mark.slow
def test_a_3d_convolution_is_refused(lite, tmp_path):
    file = export(lively(OneBlock()), tmp_path / "n.onnx", SHAPE).path
    with pytest.raises(ExportError, match=r"converter refuses it .*node Conv failed"):
        lite.convert(file, tmp_path / "n_lite")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["add", "cat", "r2plus1d", "p3d_b", "tsm"])
def test_its_4d_form_converts_runs_and_matches(lite, variant, tmp_path):
    network = apply_spatiotemporal(lively(OneBlock()), variant)[0]
    file = export(network, tmp_path / "n.onnx", SHAPE).path
    clips = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    found = lite.run(lite.convert(file, tmp_path / "n_lite"), clips)
    expected = network.set_train(False)(ms.Tensor(clips)).asnumpy()
    np.testing.assert_allclose(found, expected, atol=EXPORT)


def test_a_missing_wheel_names_the_way_to_it(tmp_path):
    with pytest.raises(SetupError, match="`make lite` fetches it"):
        Lite(tmp_path)
