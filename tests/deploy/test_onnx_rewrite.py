from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from ms_eff.deploy.export import export
from ms_eff.deploy.graphs import read_graph
from ms_eff.deploy.onnx_rewrite import rewrite
from tests.lite import lite_or_skip
from tests.tolerances import EXPORT

SHAPE = (2, 5, 24)


@pytest.fixture(scope="module")
def norm() -> nn.LayerNorm:
    cell = nn.LayerNorm((24,), epsilon=1e-5)
    rng = np.random.default_rng(0)
    for parameter in cell.get_parameters():
        parameter.set_data(ms.Tensor(rng.standard_normal(24, dtype=np.float32)))
    return cell


def test_layer_norms_are_exported_without_sums_of_squares(norm, tmp_path):
    done = export(norm, tmp_path / "n.onnx", SHAPE)
    ops = [node.op for node in read_graph(done.path).nodes]
    assert "ReduceSumSquare" not in ops
    assert "ReduceSum" in ops
    assert done.difference.max_abs <= EXPORT
    before = done.path.read_bytes()
    assert rewrite(done.path) == 0
    assert done.path.read_bytes() == before


@pytest.mark.slow
def test_lite_computes_layer_norms(norm, tmp_path):
    lite = lite_or_skip()
    file = export(norm, tmp_path / "n.onnx", SHAPE).path
    x = np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32) + 1
    found = lite.run(lite.convert(file, tmp_path / "n_lite"), x)
    np.testing.assert_allclose(found, norm(ms.Tensor(x)).asnumpy(), atol=EXPORT)
