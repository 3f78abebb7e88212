"""CELU against its definition, in both forms."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from ms_eff.errors import ConfigError
from ms_eff.models.celu import CELU
from tests.tolerances import LAYER

X = np.array([-40.0, -1.0, -1e-3, 1e-3, 0.5, 90.0], np.float32)


@pytest.mark.parametrize("portable", [False, True])
def test_values_and_slopes_are_those_of_the_definition(portable) -> None:
    alpha = 0.3
    cell = CELU(alpha)
    cell.portable = portable
    value, slope = ms.value_and_grad(cell)(Tensor(X))
    below = np.minimum(X, 0.0)
    np.testing.assert_allclose(
        value.asnumpy(), np.maximum(X, 0.0) + alpha * np.expm1(below / alpha), atol=LAYER
    )
    np.testing.assert_allclose(slope.asnumpy(), np.exp(below / alpha), atol=LAYER)


def test_alpha_is_checked() -> None:
    with pytest.raises(ConfigError, match="alpha: expected a number above 0, got 0"):
        CELU(0.0)
