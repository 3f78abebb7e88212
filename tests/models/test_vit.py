from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import ParameterTuple, nn, ops

from ms_eff import models
from ms_eff.bench.counts import count, totals
from ms_eff.deploy.export import export
from ms_eff.errors import ConfigError
from ms_eff.methods.skipvit import SkipViTSettings, apply_skipvit
from ms_eff.models.naming import NAMINGS
from ms_eff.train.precision import mixed_precision
from tests.tolerances import FP32, LAYER

# timm's counts at 224 x 224, 1000 classes
PARAMETERS = {
    "vit_tiny_patch16": 5_717_416,
    "vit_tiny_patch32": 6_131_560,
    "vit_small_patch16": 22_050_664,
    "vit_small_patch32": 22_878_952,
    "vit_base_patch16": 86_567_656,
    "vit_base_patch32": 88_224_232,
}
SMALL = {"image_size": 8, "patch_size": 4, "dim": 16, "depth": 2, "heads": 2, "num_classes": 5}


@pytest.mark.gate
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count_is_timms(name: str) -> None:
    network = models.build(name)
    assert sum(p.size for p in network.trainable_params()) == PARAMETERS[name]


def _images(batch: int = 3, side: int = 8) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((batch, 3, side, side), dtype=np.float32)


def _liven(torch, twin) -> None:
    """Move everything off its initial zeros and ones."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)


class _Gradients(nn.Cell):
    """Logits, and the gradients of sum(logits * cotangent): one graph."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        weights = ParameterTuple(network.trainable_params())
        self.gradient = ms.value_and_grad(self._scalar, None, weights, has_aux=True)

    def _scalar(self, images: ms.Tensor, cotangent: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        logits = self.network(images)
        return ops.reduce_sum(logits * cotangent), logits

    def construct(self, images: ms.Tensor, cotangent: ms.Tensor):
        return self.gradient(images, cotangent)


@pytest.mark.gate
@pytest.mark.parametrize(
    ("twin_name", "library", "args"),
    [
        ("hf_vit", "hf", {}),
        ("plain_vit", "timm", {"image_size": 12}),
        ("plain_vit", "timm", {"pool": "mean"}),
    ],
)
def test_forward_and_gradients_equal_torchs(twin_name, library, args, tmp_path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from safetensors.torch import save_file

    from cross_check.twins import vit as twins

    sizes = {**SMALL, **args}
    twin = getattr(twins, twin_name)(**sizes).eval()
    _liven(torch, twin)
    save_file(twin.state_dict(), tmp_path / "twin.safetensors")
    network = models.build("vit", **sizes)
    notes = models.load_weights(network, tmp_path / "twin.safetensors")
    assert notes[0].endswith(f"{library} names")

    images = _images(side=sizes["image_size"])
    cotangent = np.random.default_rng(6).standard_normal((3, 5), dtype=np.float32)
    logits = twin(torch.from_numpy(images))
    logits = getattr(logits, "logits", logits)
    (logits * torch.from_numpy(cotangent)).sum().backward()
    expected = {name: p.grad.numpy() for name, p in twin.named_parameters()}

    (_, found_logits), gradients = _Gradients(network)(ms.Tensor(images), ms.Tensor(cotangent))
    ours = {
        p.name.removeprefix("network."): g.asnumpy()
        for p, g in zip(network.trainable_params(), gradients, strict=True)
    }
    found = next(r for naming in NAMINGS[library] if (r := naming.renamed(ours)) is not None)
    np.testing.assert_allclose(found_logits.asnumpy(), logits.detach().numpy(), FP32, FP32)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        bound = FP32 * max(np.abs(gradient).max(), 1e-2)  # a bias of keys has none in truth
        np.testing.assert_allclose(found[name], gradient, rtol=0, atol=bound, err_msg=name)


def test_other_image_size_takes_resampled_positions(tmp_path) -> None:
    saved = models.build("vit", **SMALL, seed=1)
    models.save_weights(saved, tmp_path / "w.safetensors", naming="timm")
    network = models.build("vit", **{**SMALL, "image_size": (8, 16)})
    notes = models.load_weights(network, tmp_path / "w.safetensors")
    assert notes[1] == "pos_embed: resampled from 2 x 2 patches to 2 x 4"
    found, before = network.pos_embed.asnumpy(), saved.pos_embed.asnumpy()
    np.testing.assert_array_equal(found[:, 0], before[:, 0])
    # a row that is stretched keeps its mean, and rows are not mixed
    stretched = found[:, 1:].reshape(2, 4, 16).mean(1)
    np.testing.assert_allclose(stretched, before[:, 1:].reshape(2, 2, 16).mean(1), atol=1e-6)


def test_macs_are_those_of_the_formula() -> None:
    network = models.build("vit_small_patch16", depth=1)
    dim, tokens = 384, 197
    block = 12 * tokens * dim**2 + 2 * tokens**2 * dim
    expected = 196 * 768 * dim + block + 1000 * dim
    assert totals(count(network, (1, 3, 224, 224)))["macs"] == expected


def test_seed_decides_the_initial_weights() -> None:
    first, same, other = (
        dict(models.build("vit", **SMALL, seed=seed).parameters_and_names()) for seed in (3, 3, 4)
    )
    name = "blocks.1.attn.qkv.weight"
    assert all(np.array_equal(p.asnumpy(), same[key].asnumpy()) for key, p in first.items())
    assert not np.array_equal(first[name].asnumpy(), other[name].asnumpy())


def test_initial_weights_are_truncated_normal() -> None:
    weight = models.build("vit_tiny_patch16", depth=1).blocks[0].mlp.fc1.weight.asnumpy()
    assert np.abs(weight).max() <= 0.04
    # cutting at 2 std leaves 0.8796 of it
    assert weight.std() == pytest.approx(0.02 * 0.8796, rel=0.02)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"dim": 0}, "dim: expected at least 1"),
        ({"heads": 3}, "heads: 3 does not divide dim = 16"),
        ({"image_size": 9}, "image_size: 9 x 9 is no multiple of patch_size = 4"),
        ({"image_size": (8, 2)}, "image_size: 8 x 2"),
        ({"pool": "max"}, "pool: expected 'token' or 'mean', got 'max'"),
    ],
)
def test_bad_arguments_are_named(args, message) -> None:
    with pytest.raises(ConfigError, match=message):
        models.build("vit", **{**SMALL, **args})


@pytest.mark.gate
@pytest.mark.parametrize("format", ["mindir", "onnx"])
def test_exported_file_gives_the_same_logits_at_any_batch_size(format, tmp_path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    network = models.build("vit", **SMALL)
    done = export(network, tmp_path / f"vit.{format}", (2, 3, 8, 8), dynamic_batch=True)
    assert done.difference.samples == 3
    assert done.difference.within(LAYER)
    assert not network.blocks[0].mlp.act.cdf.portable


@pytest.mark.gate
def test_half_precision_follows_single_precision() -> None:
    # what training on Ascend runs in by default; the patches that skip are the same in both
    settings = SkipViTSettings(score_block=0, merge_block=2, score="random")
    sizes = {**SMALL, "patch_size": 2}
    whole, half = (
        apply_skipvit(models.build("vit", **sizes), settings)[0] for _ in range(2)
    )  # fmt: skip
    mixed_precision(half, "O2")
    x, cotangent = ms.Tensor(_images()), ms.Tensor(np.ones((3, 5), np.float32))
    (_, expected), of_weights = _Gradients(whole.set_train())(x, cotangent)
    (_, found), of_half = _Gradients(half.set_train())(x, cotangent)
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), atol=2e-2)
    for one, other in zip(of_half, of_weights, strict=True):
        scale = max(1.0, float(np.abs(other.asnumpy()).max()))
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), atol=2e-2 * scale)
