"""ResNet-9, the network of ten-minute training contests (arXiv:2309.03965).

prep and three layers of 3x3 convolutions, two of them with a residual pair, a global max pool and a
classifier without bias. The convolution and its normalisation and activation are one `ConvBlock`.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_eff.errors import ConfigError
from ms_eff.models.celu import CELU
from ms_eff.models.initial import batch_norm, conv2d

__all__ = ["ConvBlock", "ResNet9", "resnet9"]

# what each form settles unless said otherwise
_FORMS: dict[str, dict[str, Any]] = {
    "baseline": {"activation": "relu", "logit_scale": 1 / 8, "train_norm_scale": True},
    "competition": {"activation": "celu", "logit_scale": 1 / 16, "train_norm_scale": False},
}
_ACTIVATIONS = {"relu": nn.ReLU, "celu": CELU}


class ConvBlock(nn.Cell):
    """3x3 convolution, batch normalisation, activation, and a 2x2 max pool in some.

    Args:
        rng: source of the initial weights.
        in_channels: channels of the input.
        channels: of the output.
        activation: `relu` or `celu`.
        pool: halve the size.
        pool_first: pool right after the convolution rather than at the end, which leaves a quarter
            of the values to normalise.
        train_norm_scale: train the normalisation's scale; otherwise it stays 1.
        dirac: start the first `in_channels` filters as identities, a channel each (airbench,
            arXiv:2404.00498).
    """

    def __init__(
        self,
        rng: np.random.Generator,
        in_channels: int,
        channels: int,
        activation: str = "relu",
        *,
        pool: bool = False,
        pool_first: bool = False,
        train_norm_scale: bool = True,
        dirac: bool = False,
    ) -> None:
        super().__init__()
        self.conv = conv2d(rng, in_channels, channels, 3)
        if dirac:
            self.conv.weight.set_data(_with_identities(self.conv.weight))
        self.bn = batch_norm(channels)
        self.bn.gamma.requires_grad = train_norm_scale
        self.act = _ACTIVATIONS[activation]()
        self.pool = nn.MaxPool2d(2, 2) if pool else None
        self.pool_first = pool_first

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, channels, H, W)``, or half of H and W."""
        x = self.conv(x)
        if self.pool is not None and self.pool_first:
            x = self.pool(x)
        x = self.act(self.bn(x))
        if self.pool is not None and not self.pool_first:
            x = self.pool(x)
        return x


class _Residual(nn.Cell):
    """x + block(block(x))."""

    def __init__(self, rng: np.random.Generator, channels: int, **block: Any) -> None:
        super().__init__()
        self.block1 = ConvBlock(rng, channels, channels, **block)
        self.block2 = ConvBlock(rng, channels, channels, **block)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x + self.block2(self.block1(x))


class ResNet9(nn.Cell):
    """The network; 6,573,120 parameters at width 64, 10 classes (arXiv:2309.03965).

    Args:
        num_classes: outputs.
        in_channels: channels of the input images.
        width: channels of the first convolution; the layers have 2, 4 and 8 times as many.
        form: ``baseline``: convolution, norm, ReLU, pool; logits times 1/8. ``competition``:
            convolution, pool, norm, CELU 0.3; logits times 1/16; norms train their shift only.
        activation: ``relu`` or ``celu``; None as the form has it.
        logit_scale: constant that the logits are multiplied by; None as the form has it.
        train_norm_scale: whether normalisations train their scale; None as the form has it.
        dirac: start the convolutions after the first as partial identities (arXiv:2404.00498).
        seed: of the initial weights.

    Raises:
        ConfigError: for another form or activation, a size below 1, a scale not above 0.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 64,
        form: str = "baseline",
        activation: str | None = None,
        logit_scale: float | None = None,
        train_norm_scale: bool | None = None,
        dirac: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if form not in _FORMS:
            raise ConfigError(f"form: expected {' or '.join(_FORMS)}, got {form!r}")
        given = {
            "activation": activation,
            "logit_scale": logit_scale,
            "train_norm_scale": train_norm_scale,
        }
        chosen = _FORMS[form] | {key: value for key, value in given.items() if value is not None}
        _check(chosen, num_classes=num_classes, in_channels=in_channels, width=width)
        self.logit_scale = chosen.pop("logit_scale")
        rng = np.random.default_rng(seed)
        block = {**chosen, "pool_first": form == "competition"}
        one, two, four, eight = (width * times for times in (1, 2, 4, 8))
        self.prep = ConvBlock(rng, in_channels, one, **block)
        block["dirac"] = dirac
        self.layer1 = ConvBlock(rng, one, two, pool=True, **block)
        self.residual1 = _Residual(rng, two, **block)
        self.layer2 = ConvBlock(rng, two, four, pool=True, **block)
        self.layer3 = ConvBlock(rng, four, eight, pool=True, **block)
        self.residual3 = _Residual(rng, eight, **block)
        self.fc = _classifier(rng, eight, num_classes)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return logits ``(N, num_classes)`` of images ``(N, in_channels, H, W)``, H, W >= 8."""
        return self.fc(self.features(x)) * self.logit_scale

    def features(self, x: ms.Tensor) -> ms.Tensor:
        """Return the pooled features ``(N, 8 * width)`` that the classifier sees."""
        x = self.residual1(self.layer1(self.prep(x)))
        x = self.residual3(self.layer3(self.layer2(x)))
        # at 32 x 32 the paper's 4x4 pool; this way other sizes fit too
        return ops.amax(x, (2, 3))


def resnet9(**args: Any) -> ResNet9:
    """Return ResNet-9; arguments as `ResNet9`'s."""
    return ResNet9(**args)


def _classifier(rng: np.random.Generator, in_channels: int, num_classes: int) -> nn.Dense:
    bound = 1.0 / np.sqrt(in_channels)
    weight = rng.uniform(-bound, bound, (num_classes, in_channels)).astype(np.float32)
    return nn.Dense(in_channels, num_classes, weight_init=ms.Tensor(weight), has_bias=False)


def _with_identities(weight: ms.Parameter) -> ms.Tensor:
    values = weight.asnumpy().copy()
    channels = np.arange(min(values.shape[:2]))
    values[channels] = 0.0
    values[channels, channels, 1, 1] = 1.0
    return ms.Tensor(values)


def _check(chosen: dict[str, Any], **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name}: expected at least 1, got {size}")
    if chosen["activation"] not in _ACTIVATIONS:
        raise ConfigError(
            f"activation: expected {' or '.join(_ACTIVATIONS)}, got {chosen['activation']!r}"
        )
    if chosen["logit_scale"] <= 0:
        raise ConfigError(f"logit_scale: expected above 0, got {chosen['logit_scale']:g}")
