from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from ms_eff import models
from ms_eff.methods.base import ModelContext
from ms_eff.methods.gqkva import GQKVA, GQKVASettings
from ms_eff.methods.gqkva.core import pool
from ms_eff.models.heads import head_layout

SMALL = {"image_size": 8, "patch_size": 4, "dim": 12, "depth": 1, "heads": 6, "num_classes": 5}


@pytest.mark.parametrize("trained", [True, False])
def test_trained_weights_are_pooled_and_others_drawn(trained) -> None:
    method = GQKVA(GQKVASettings(kind="gqkva", groups=[2, 3]), seed=5)
    model = models.build("vit", **SMALL)
    pooled = pool(model.blocks[0].attn.qkv.weight.asnumpy(), head_layout("gqkva", 6, (2, 3)))
    grouped = method.change_model(model, ModelContext((1, 3, 8, 8), trained=trained))
    found = grouped.blocks[0].attn.qkv.weight.asnumpy()
    assert np.array_equal(found, pooled) is trained
    assert method.report["cells"][0]["keys"] == 3
    rebuilt = GQKVA.rebuild(models.build("vit", **SMALL), method.plan)
    assert rebuilt.blocks[0].attn.qkv.weight.shape == found.shape


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "gqa"}, "gqa takes one number"),
        ({"kind": "gqkva", "groups": 3}, "gqkva takes a pair"),
        ({"kind": "gqq"}, "'mha', 'mqa'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message) -> None:
    with pytest.raises(ValidationError, match=message):
        GQKVASettings(**settings)
