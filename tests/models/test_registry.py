from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields

import pytest

from ms_eff import models
from ms_eff.errors import ConfigError
from ms_eff.models import (
    bert,
    eco_lite,
    efficientnet_lite,
    gpt2,
    gpt2_classifier,
    r3d,
    registry,
    resnet,
    resnet9,
    vit,
)


def test_unknown_model_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'resnt18' \(did you mean 'resnet18'\?\)"):
        models.build("resnt18")


def test_unknown_argument_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'widht' \(did you mean 'width'\?\)"):
        models.build("resnet18", widht=8)


@pytest.mark.parametrize("name", models.names())
def test_registry_lists_what_the_builder_takes(name: str) -> None:
    families = {
        "bert": bert.BertClassifier,
        "gpt2": gpt2.GPT2,
        "gpt2_classifier": gpt2_classifier.GPT2Classifier,
        "resnet": resnet.ResNet,
        "resnet9": resnet9.ResNet9,
        "vit": vit.VisionTransformer,
        "efficientnet_lite": efficientnet_lite.EfficientNetLite,
        "eco_lite": eco_lite.EcoLite,
        "r3d": r3d.ResNet3d,
    }
    builder, listed = registry.MODELS[name]
    family = families[builder.partition(":")[0].rpartition(".")[2]]
    takes = list(inspect.signature(family.__init__).parameters)
    if "shape" in takes:  # its numbers in one piece
        takes = [*takes, *(field.name for field in fields(gpt2.GPT2Shape))]
    own = {"self", "block", "layers", "seed", "shape"}
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
