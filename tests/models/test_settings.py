from __future__ import annotations

import pytest
import yaml
from pydantic import ValidationError

from ms_eff.config import load_config
from ms_eff.errors import ConfigError
from ms_eff.models import registry
from ms_eff.models.settings import ModelSettings


def test_given_keys_win_over_the_callers_defaults() -> None:
    settings = ModelSettings(name="resnet18", num_classes=7, weights="w.safetensors")
    assert settings.args(num_classes=10, in_channels=1) == {"num_classes": 7, "in_channels": 1}


def test_every_key_belongs_to_some_model() -> None:
    taken = {key for _, takes in registry.MODELS.values() for key in takes}
    assert set(ModelSettings.model_fields) - {"name", "weights"} == taken


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "resnt18"}, "did you mean 'resnet18'"),
        ({"name": "resnet18", "width": 0}, "greater than or equal to 1"),
        ({"name": "resnet18", "stem": "x"}, "'imagenet' or 'cifar'"),
        ({"name": "resnet18", "widht": 8}, "widht"),
    ],
)
def test_bad_values_are_refused(values, message) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSettings(**values)


def test_key_of_another_model_is_refused(monkeypatch) -> None:
    monkeypatch.setitem(registry.MODELS, "other", ("somewhere:other", ("num_classes",)))
    with pytest.raises(ValidationError, match="other takes no 'stem'"):
        ModelSettings(name="other", stem="cifar")


def test_front_and_whole_weights_together_are_refused_before_anything_is_built(tmp_path) -> None:
    model = {"name": "eco_lite", "weights": "all.safetensors", "front_weights": "front.pth"}
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({"model": model, "data": {"name": "motion_digits"}}))
    with pytest.raises(ConfigError) as refused:
        load_config(config)
    said = str(refused.value)
    assert "\n" not in said
    for part in ("model.front_weights = front.pth", "model.weights = all.safetensors", "drop one"):
        assert part in said
    for key in ("weights", "front_weights"):  # either alone is taken
        assert load_config(config, [f"model.{key}=null"]).model.name == "eco_lite"
