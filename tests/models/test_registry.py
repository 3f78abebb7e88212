from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from ms_eff import models
from ms_eff.errors import ConfigError
from ms_eff.models import efficientnet_lite, registry, resnet, resnet9, vit


def test_unknown_model_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'resnt18' \(did you mean 'resnet18'\?\)"):
        models.build("resnt18")


def test_unknown_argument_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'widht' \(did you mean 'width'\?\)"):
        models.build("resnet18", widht=8)


@pytest.mark.parametrize("name", models.names())
def test_registry_lists_what_the_builder_takes(name: str) -> None:
    families = {
        "resnet": resnet.ResNet,
        "resnet9": resnet9.ResNet9,
        "vit": vit.VisionTransformer,
        "efficientnet_lite": efficientnet_lite.EfficientNetLite,
    }
    builder, listed = registry.MODELS[name]
    family = families[builder.partition(":")[0].rpartition(".")[2]]
    takes = inspect.signature(family.__init__).parameters
    assert set(listed) == set(takes) - {"self", "block", "layers", "seed"}


def test_names_and_settings_need_no_mindspore() -> None:
    code = (
        "import sys, ms_eff.models, ms_eff.models.settings as s;"
        "s.ModelSettings(name='resnet18'); sys.exit('mindspore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
