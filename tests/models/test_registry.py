from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from ms_eff import models
from ms_eff.errors import ConfigError
from ms_eff.models import eco_lite, efficientnet_lite, r3d, registry, resnet, vit


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
        "vit": vit.VisionTransformer,
        "efficientnet": efficientnet_lite.EfficientNetLite,
        "eco": eco_lite.EcoLite,
        "r3d": r3d.ResNet3d,
    }
    (family,) = (cell for start, cell in families.items() if name.startswith(start))
    takes = inspect.signature(family.__init__).parameters
    listed = registry.MODELS[name][1]
    own = {"self", "block", "layers", "seed"}
    if name.startswith("eco"):  # the small one has one width in place of three, and its own front
        own |= {"front", "widths"} | ({"front_weights"} if name == "eco_lite_small" else set())
        listed = tuple(key for key in listed if key != "width")
    assert set(listed) == set(takes) - own


def test_names_and_settings_need_no_mindspore() -> None:
    code = (
        "import sys, ms_eff.models, ms_eff.models.settings as s;"
        "s.ModelSettings(name='resnet18'); sys.exit('mindspore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
