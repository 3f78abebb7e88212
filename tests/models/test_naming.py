from __future__ import annotations

import pytest

from ms_eff import models
from ms_eff.models.naming import NAMINGS, PLAIN, Naming, Row

# the same arrays as each library calls them, from its documentation and released files
PAIRS = {
    "torchvision": {
        "conv1.weight": "conv1.weight",
        "bn1.moving_variance": "bn1.running_var",
        "layer3.5.bn2.gamma": "layer3.5.bn2.weight",
        "layer2.0.downsample.1.beta": "layer2.0.downsample.1.bias",
        "fc.bias": "fc.bias",
    },
    "hf": {
        "conv1.weight": "resnet.embedder.embedder.convolution.weight",
        "layer3.5.conv2.weight": "resnet.encoder.stages.2.layers.5.layer.1.convolution.weight",
        "layer1.0.bn3.moving_mean": "resnet.encoder.stages.0.layers.0.layer.2"
        ".normalization.running_mean",
        "layer2.0.downsample.0.weight": "resnet.encoder.stages.1.layers.0.shortcut"
        ".convolution.weight",
        "fc.weight": "classifier.1.weight",
    },
    "mindcv": {
        "bn1.gamma": "bn1.gamma",
        "layer2.0.downsample.1.moving_mean": "layer2.0.down_sample.1.moving_mean",
        "layer4.2.conv3.weight": "layer4.2.conv3.weight",
        "fc.weight": "classifier.weight",
    },
}


@pytest.mark.parametrize(
    ("library", "ours", "theirs"),
    [(library, *pair) for library, pairs in PAIRS.items() for pair in pairs.items()],
)
def test_known_names(library: str, ours: str, theirs: str) -> None:
    naming = NAMINGS[library][0]
    assert naming.to_theirs(ours) == theirs
    assert naming.to_ours(theirs) == ours


@pytest.mark.parametrize("library", NAMINGS)
def test_every_name_of_a_network_goes_there_and_back(library: str) -> None:
    naming = NAMINGS[library][0]
    names = [name for name, _ in models.build("resnet50", width=2).parameters_and_names()]
    theirs = [naming.to_theirs(name) for name in names]
    assert len(set(theirs)) == len(names)
    assert [naming.to_ours(name) for name in theirs] == names


def test_factors_inside_a_layer_keep_their_names() -> None:
    naming = NAMINGS["hf"][0]
    theirs = "resnet.encoder.stages.0.layers.1.layer.0.convolution.2.weight"
    assert naming.to_theirs("layer1.1.conv1.2.weight") == theirs
    assert naming.to_ours(theirs) == "layer1.1.conv1.2.weight"


def test_offsets_count_on_either_side() -> None:
    naming = Naming((Row("a{i}.b{j-1}", "x{j+1}.y{i}", PLAIN),))
    assert naming.to_theirs("a7.b2.weight") == "x4.y7.weight"
    assert naming.to_ours("x4.y7.weight") == "a7.b2.weight"


@pytest.mark.parametrize("key", ["layer1.conv1.weight", "bn1.weights", "xconv1.weight", "fc"])
def test_foreign_names_have_no_translation(key: str) -> None:
    assert NAMINGS["torchvision"][0].to_ours(key) is None


def test_batch_counters_are_ignored() -> None:
    assert NAMINGS["torchvision"][0].ignores("layer1.0.bn1.num_batches_tracked")
    assert not NAMINGS["torchvision"][0].ignores("bn1.weight")
