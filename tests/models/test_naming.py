from __future__ import annotations

import numpy as np
import pytest

from ms_eff import models
from ms_eff.models.naming import NAMINGS
from ms_eff.models.renaming import PLAIN, Naming, Row

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
VIT_PAIRS = {
    "timm": {
        "cls_token": "cls_token",
        "pos_embed": "pos_embed",
        "patch_embed.proj.weight": "patch_embed.proj.weight",
        "blocks.11.norm1.gamma": "blocks.11.norm1.weight",
        "blocks.0.attn.qkv.bias": "blocks.0.attn.qkv.bias",
        "blocks.0.mlp.fc2.first.weight": "blocks.0.mlp.fc2.first.weight",
        "fc_norm.beta": "fc_norm.bias",
        "head.weight": "head.weight",
    },
    "hf": {
        "cls_token": "vit.embeddings.cls_token",
        "pos_embed": "vit.embeddings.position_embeddings",
        "patch_embed.proj.bias": "vit.embeddings.patch_embeddings.projection.bias",
        "blocks.3.norm2.beta": "vit.encoder.layer.3.layernorm_after.bias",
        "blocks.3.attn.proj.weight": "vit.encoder.layer.3.attention.output.dense.weight",
        "blocks.3.mlp.fc1.weight": "vit.encoder.layer.3.intermediate.dense.weight",
        "norm.gamma": "vit.layernorm.weight",
        "head.bias": "classifier.bias",
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


@pytest.mark.parametrize(
    ("library", "ours", "theirs"),
    [(library, *pair) for library, pairs in VIT_PAIRS.items() for pair in pairs.items()],
)
def test_known_names_of_vits(library: str, ours: str, theirs: str) -> None:
    naming = NAMINGS[library][1]
    assert naming.to_theirs(ours) == theirs
    assert naming.to_ours(theirs) == ours


def test_joined_arrays_are_split_in_the_order_of_the_stack_and_back() -> None:
    naming = NAMINGS["hf"][1]
    stack = np.arange(18.0).reshape(9, 2)
    theirs = naming.renamed({"blocks.2.attn.qkv.weight": stack})
    stem = "vit.encoder.layer.2.attention.attention"
    assert list(theirs) == [f"{stem}.{part}.weight" for part in ("query", "key", "value")]
    np.testing.assert_array_equal(theirs[f"{stem}.key.weight"], stack[3:6])
    joined = naming.join(theirs)
    assert [naming.to_ours(name) for name in joined] == ["blocks.2.attn.qkv.weight"]
    np.testing.assert_array_equal(joined[f"{stem}.qkv.weight"], stack)


def test_factors_of_a_joined_layer_have_no_names() -> None:
    assert NAMINGS["hf"][1].renamed({"blocks.0.attn.qkv.first.weight": np.zeros((3, 2))}) is None


def test_a_part_alone_is_not_joined() -> None:
    arrays = {"vit.encoder.layer.0.attention.attention.query.weight": np.zeros((2, 2))}
    assert NAMINGS["hf"][1].join(arrays).keys() == arrays.keys()


@pytest.mark.parametrize("library", NAMINGS)
def test_every_name_of_a_network_goes_there_and_back(library: str) -> None:
    naming = NAMINGS[library][0]
    if library == "efficientnet_pytorch":
        network = models.build("efficientnet_lite0", num_classes=2)
    else:
        network = models.build("resnet50", width=2)
    names = [name for name, _ in network.parameters_and_names()]
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
