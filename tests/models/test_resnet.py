from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from ms_eff import models
from ms_eff.errors import ConfigError
from ms_eff.models import resnet
from ms_eff.models.weights import load_weights
from tests.tolerances import EXPORT, FP32

# torchvision's published counts
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}


@pytest.mark.gate
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count_is_torchvisions(name: str) -> None:
    network = models.build(name)
    assert sum(p.size for p in network.trainable_params()) == PARAMETERS[name]


def _images(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("stem", "block", "side"),
    [("imagenet", "basic", 64), ("imagenet", "bottleneck", 70), ("cifar", "bottleneck", 16)],
)
def test_forward_equals_the_plain_torch_twin(stem, block, side, tmp_path) -> None:
    torch = pytest.importorskip("torch")
    from cross_check.twins.resnet import plain_resnet

    torch.manual_seed(0)
    twin = plain_resnet(block, [1, 2, 1, 1], width=8, num_classes=10, in_channels=1, stem=stem)
    _randomise_statistics(torch, twin)
    torch.save(twin.state_dict(), tmp_path / "twin.pth")
    cell_block = resnet.BasicBlock if block == "basic" else resnet.Bottleneck
    cell = resnet.ResNet(
        cell_block, (1, 2, 1, 1), width=8, num_classes=10, in_channels=1, stem=stem
    )
    assert load_weights(cell, tmp_path / "twin.pth")[0].endswith("torchvision names")
    _compare(torch, cell, twin, _images((2, 1, side, side)))


@pytest.mark.gate
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_forward_equals_transformers(name, tmp_path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from safetensors.torch import save_file

    from cross_check.twins.resnet import hf_resnet

    torch.manual_seed(1)
    block, layers = {"resnet18": ("basic", [2] * 4), "resnet50": ("bottleneck", [3, 4, 6, 3])}[name]
    twin = hf_resnet(block, layers, width=8, num_classes=10)
    _randomise_statistics(torch, twin)
    save_file(twin.state_dict(), tmp_path / "twin.safetensors")
    cell = models.build(name, width=8, num_classes=10)
    assert load_weights(cell, tmp_path / "twin.safetensors")[0].endswith("hf names")
    _compare(torch, cell, twin, _images((2, 3, 64, 64)))


def _randomise_statistics(torch, twin) -> None:
    for module in twin.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def _compare(torch, cell, twin, images) -> None:
    with torch.no_grad():
        expected = twin.eval()(torch.from_numpy(images))
    expected = getattr(expected, "logits", expected).numpy()
    found = cell.set_train(False)(ms.Tensor(images)).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=FP32, atol=FP32)


@pytest.fixture(scope="module")
def small() -> nn.Cell:
    return models.build("resnet18", width=8, num_classes=10, stem="imagenet")


@pytest.mark.gate
def test_onnx_export_keeps_the_outputs(small, tmp_path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    images = _images((2, 3, 32, 32))
    small.set_train(False)
    file = str(tmp_path / "net.onnx")
    ms.onnx.export(small, ms.Tensor(images), file_name=file)
    session = onnxruntime.InferenceSession(file)
    found = session.run(None, {session.get_inputs()[0].name: images})[0]
    expected = small(ms.Tensor(images)).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=EXPORT, atol=EXPORT)


def test_graph_and_pynative_agree(small) -> None:
    images = ms.Tensor(_images((2, 3, 32, 32)))
    small.set_train(False)
    compiled = small(images).asnumpy()
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        eager = small(images).asnumpy()
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)
    np.testing.assert_allclose(compiled, eager, rtol=FP32, atol=FP32)


@pytest.mark.gate
def test_it_learns_to_tell_two_images_apart() -> None:
    network = models.build("resnet18", width=4, num_classes=2, stem="cifar").set_train()
    optimizer = nn.Momentum(network.trainable_params(), 0.05, 0.9)
    step = nn.TrainOneStepCell(nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer)
    batch = ms.Tensor(_images((4, 3, 8, 8))), ms.Tensor(np.array([0, 1, 0, 1], np.int32))
    losses = [float(step(*batch)) for _ in range(12)]
    assert losses[-1] < 0.1 * losses[0]


def test_seed_decides_the_initial_weights() -> None:
    first, same, other = (
        dict(models.build("resnet18", width=4, seed=seed).parameters_and_names())
        for seed in (3, 3, 4)
    )
    name = "layer3.0.conv1.weight"
    assert all(np.array_equal(p.asnumpy(), same[key].asnumpy()) for key, p in first.items())
    assert not np.array_equal(first[name].asnumpy(), other[name].asnumpy())


def test_initial_weights_are_he_normal_over_fan_out() -> None:
    weight = models.build("resnet18", width=32).layer4[0].conv1.weight.asnumpy()
    out, _, height, width = weight.shape
    assert weight.std() == pytest.approx(np.sqrt(2 / (out * height * width)), rel=0.02)
    assert abs(weight.mean()) < 1e-3


def test_zero_init_residual_makes_blocks_identities() -> None:
    network = models.build("resnet50", width=4, zero_init_residual=True)
    block = network.layer1[1].set_train(False)
    x = np.abs(_images((1, 16, 4, 4)))
    np.testing.assert_array_equal(block(ms.Tensor(x)).asnumpy(), x)


@pytest.mark.parametrize("args", [{"width": 0}, {"num_classes": 0}, {"stem": "imagnet"}])
def test_bad_arguments_are_named(args) -> None:
    with pytest.raises(ConfigError, match=next(iter(args))):
        models.build("resnet18", **args)
