"""ResNet in plain torch under torchvision's names, and the one of HF transformers.

The plain one is written from the papers (arXiv:1512.03385, stride in the 3x3 convolution); it has
the CIFAR stem that transformers lacks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["convolved_norm", "folded_resnet", "hf_resnet", "plain_resnet"]


def plain_resnet(
    block: str,
    layers: list[int],
    width: int = 64,
    num_classes: int = 1000,
    in_channels: int = 3,
    stem: str = "imagenet",
) -> nn.Module:
    """Return a plain ResNet of `basic` or `bottleneck` blocks."""
    return _ResNet(block, layers, width, num_classes, in_channels, stem)


def folded_resnet(**args: Any) -> nn.Module:
    """Return the plain ResNet without norms: each convolution has a bias in their place."""
    network = plain_resnet(**args)
    for owner in list(network.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(owner, name, nn.Identity())
            elif isinstance(child, nn.Conv2d):
                child.bias = nn.Parameter(torch.zeros(child.out_channels))
    return network


def convolved_norm(channels: int) -> nn.Module:
    """Return a 1x1 convolution of three channels and a plain batch normalisation."""
    return nn.Sequential(nn.Conv2d(3, channels, 1, bias=False), nn.BatchNorm2d(channels))


def hf_resnet(
    block: str, layers: list[int], width: int = 64, num_classes: int = 1000, in_channels: int = 3
) -> nn.Module:
    """Return transformers' ResNetForImageClassification (its output has `.logits`)."""
    from transformers import ResNetConfig, ResNetForImageClassification

    expansion = 4 if block == "bottleneck" else 1
    config = ResNetConfig(
        num_channels=in_channels,
        embedding_size=width,
        hidden_sizes=[expansion * width * 2**i for i in range(len(layers))],
        depths=list(layers),
        layer_type=block,
        num_labels=num_classes,
    )
    return ResNetForImageClassification(config)


class _Block(nn.Module):
    """One residual block: convolutions (kernel, stride) in order, the shortcut beside them."""

    def __init__(self, kind: str, previous: int, channels: int, stride: int) -> None:
        super().__init__()
        if kind == "basic":
            plan = [(channels, 3, stride), (channels, 3, 1)]
        else:
            plan = [(channels, 1, 1), (channels, 3, stride), (4 * channels, 1, 1)]
        self.count = len(plan)
        inner = previous
        for i, (out, kernel, step) in enumerate(plan, start=1):
            conv = nn.Conv2d(inner, out, kernel, step, padding=kernel // 2, bias=False)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", nn.BatchNorm2d(out))
            inner = out
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or previous != inner:
            self.downsample = nn.Sequential(
                nn.Conv2d(previous, inner, 1, stride, bias=False), nn.BatchNorm2d(inner)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.count:
                y = torch.relu(y)
        return torch.relu(y + self.downsample(x))


class _ResNet(nn.Module):
    def __init__(
        self,
        block: str,
        layers: list[int],
        width: int,
        num_classes: int,
        in_channels: int,
        stem: str,
    ) -> None:
        super().__init__()
        kernel, stride = (7, 2) if stem == "imagenet" else (3, 1)
        self.conv1 = nn.Conv2d(in_channels, width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if stem == "imagenet" else nn.Identity()
        self.stages = len(layers)
        previous = width
        for stage, count in enumerate(layers):
            channels = width * 2**stage
            blocks = []
            for position in range(count):
                step = 2 if stage > 0 and position == 0 else 1
                blocks.append(_Block(block, previous, channels, step))
                previous = channels * (4 if block == "bottleneck" else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(previous, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))
