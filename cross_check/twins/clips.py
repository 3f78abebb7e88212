"""Networks for clips in torch, on 5D tensors throughout, whatever ours does.

Convolutions of the variants keep their 2D weights and run as `conv3d` with an axis of length 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from cross_check.twins.inception import InceptionFront

__all__ = ["eco_lite", "in_five_axes", "inception_eco_lite", "r3d18"]

Clips = torch.Tensor


def eco_lite(
    widths: Sequence[int], num_classes: int, frames: int, variant: str, aligned: bool
) -> nn.Module:
    """Return ECO-Lite with the small front; clips of any number of frames."""
    width = max(widths[0] // 3, 4)
    return _EcoLite(widths, num_classes, variant, aligned, _Front(width), 2 * width)


def inception_eco_lite(widths: Sequence[int], num_classes: int, frames: int) -> nn.Module:
    """Return ECO-Lite with the front of Inception-V3 and plain 3D convolutions."""
    return _EcoLite(widths, num_classes, "conv3d", False, InceptionFront(), 96)


def r3d18(
    width: int,
    num_classes: int,
    frames: int,
    stem: str,
    variant: str = "conv3d",
    aligned: bool = False,
) -> nn.Module:
    """Return R3D with one block a stage and a 3x3x3 stem."""
    return _R3d(width, num_classes, variant, aligned)


def in_five_axes(variant: str, channels: list[int]) -> nn.Module:
    """Return two convolutions of a variant with a ReLU between, the second one strided."""
    first, second, third = channels
    network = nn.Sequential()
    network.add_module("0", _Inner(_convolution(first, second, 3, 1, variant, False)))
    network.add_module("2", nn.ReLU())
    network.add_module("3", _Inner(_convolution(second, third, 3, 2, variant, False)))
    return network


class _Inner(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Clips) -> Clips:
        return self.inner(x)


class _Along(nn.Module):
    """A 2D convolution's weights along two axes of a clip: `space`, or `time` and nothing."""

    def __init__(
        self, C: int, S: int, kernel: tuple[int, int], stride: tuple[int, int, int], axis: str
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(C, S, kernel, bias=False)
        self.norm: nn.Module = nn.BatchNorm3d(S)
        self.stride, self.axis = stride, axis

    def forward(self, x: Clips) -> Clips:
        weight = self.conv.weight
        weight = weight[:, :, None] if self.axis == "space" else weight[..., None]
        pads = [side // 2 for side in weight.shape[2:]]
        return self.norm(functional.conv3d(x, weight, stride=self.stride, padding=pads))


class _Time(nn.Module):
    def __init__(self, C: int, S: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.unit = _Along(C, S, (3, 1), stride, "time")

    def forward(self, x: Clips) -> Clips:
        return self.unit(x)


class _TwoBranch(nn.Module):
    def __init__(self, C: int, S: int, side: int, s: int, variant: str, aligned: bool) -> None:
        super().__init__()
        self.s, self.joins = s, variant == "cat" and side > 1
        self.aligned = aligned
        S = 2 * S if variant == "cat" and side == 1 else S
        self.spatial = _Along(C, S, (side, side), (1, s, s), "space")
        self.temporal = _Time(C, S, (s, 1, 1)) if side > 1 else None
        self.mix = None
        if s > 1:
            self.spatial.norm = nn.Identity()
            self.mix = _Along(S, S, (1, 1), (s, 1, 1), "space")

    def forward(self, x: Clips) -> Clips:
        y = self.spatial(x)
        y = y if self.mix is None else self.mix(y)
        if self.temporal is None:
            return y
        z = x[..., :: self.s, :: self.s]
        if not self.aligned and self.s > 1:
            z = x.flatten(3)[..., :: self.s**2].reshape(z.shape)
        z = self.temporal(z)
        return torch.cat((y, z), 1) if self.joins else y + z


class _Frames(nn.Module):
    """A kernel (1, d, d); with TSM's shift before it."""

    def __init__(self, C: int, S: int, side: int, s: int, shifted: int = 0) -> None:
        super().__init__()
        self.spatial = _Along(C, S, (side, side), (s, s, s), "space")
        self.shifted = shifted

    def forward(self, x: Clips) -> Clips:
        n = self.shifted
        if n:
            y = torch.zeros_like(x)
            y[:, :n, :-1] = x[:, :n, 1:]
            y[:, n : 2 * n, 1:] = x[:, n : 2 * n, :-1]
            y[:, 2 * n :] = x[:, 2 * n :]
            x = y
        return self.spatial(x)


class _Pixels(nn.Module):
    def __init__(self, C: int, S: int, s: int) -> None:
        super().__init__()
        self.temporal = _Time(C, S, (s, s, s))

    def forward(self, x: Clips) -> Clips:
        return self.temporal(x)


class _Parallel(nn.Module):
    def __init__(self, C: int, S: int, s: int) -> None:
        super().__init__()
        self.spatial, self.temporal = _Frames(C, S, 3, s), _Pixels(C, S, s)

    def forward(self, x: Clips) -> Clips:
        return torch.relu(self.spatial(x)) + torch.relu(self.temporal(x))


class _Serial(nn.Module):
    def __init__(self, C: int, S: int, s: int, middle: int, skips: bool) -> None:
        super().__init__()
        self.spatial = _Along(C, middle, (3, 3), (1, s, s), "space")
        self.temporal = _Time(middle, S, (s, 1, 1))
        self.s, self.skips = s, skips

    def forward(self, x: Clips) -> Clips:
        x = torch.relu(self.spatial(x))
        y = self.temporal(x)
        return y + x[:, :, :: self.s] if self.skips else y


class _RankOne(nn.Module):
    def __init__(self, C: int, S: int, s: int) -> None:
        super().__init__()
        self.height = _Along(C, S, (3, 1), (1, s, 1), "space")
        self.width = _Along(S, S, (1, 3), (1, 1, s), "space")
        self.temporal = _Time(S, S, (s, 1, 1))

    def forward(self, x: Clips) -> Clips:
        return self.temporal(self.width(self.height(x)))


def _convolution(C: int, S: int, side: int, s: int, variant: str, aligned: bool) -> nn.Module:
    if variant in ("add", "cat"):
        return _TwoBranch(C, S, side, s, variant, aligned)
    if side == 1:
        return _Frames(C, S, 1, s)
    if variant == "tsm":
        return _Frames(C, S, 3, s, max(C // 8, 1))
    if variant == "p3d_b":
        return _Parallel(C, S, s)
    if variant == "rank1":
        return _RankOne(C, S, s)
    if variant == "spatial":
        return _Frames(C, S, 3, s)
    middle = 27 * C * S // (9 * C + 3 * S) if variant == "r2plus1d" else S
    return _Serial(C, S, s, middle, variant == "p3d_c")


def _normed(C: int, S: int, side: int, s: int, variant: str, aligned: bool) -> nn.Sequential:
    if variant == "conv3d":
        conv = nn.Conv3d(C, S, side, s, padding=side // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm3d(S))
    return nn.Sequential(_convolution(C, S, side, s, variant, aligned))


class _Block(nn.Module):
    def __init__(
        self, C: int, S: int, s: int, variant: str, aligned: bool = False, projects: bool = False
    ) -> None:
        super().__init__()
        wide = 2 if variant == "cat" else 1
        self.conv1 = _normed(C, S, 3, s, variant, aligned)
        self.conv2 = _normed(wide * S, S, 3, 1, variant, aligned)
        self.downsample: nn.Module = nn.Identity()
        if projects:
            self.downsample = _normed(C, S, 1, s, variant, aligned)

    def forward(self, x: Clips) -> Clips:
        y = self.conv2(torch.relu(self.conv1(x)))
        return torch.relu(y + self.downsample(x))


class _Front(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, 2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class _EcoLite(nn.Module):
    def __init__(
        self,
        widths: Sequence[int],
        num_classes: int,
        variant: str,
        aligned: bool,
        front: nn.Module,
        channels: int,
    ) -> None:
        super().__init__()
        self.net2d = front
        wide = 2 if variant == "cat" else 1
        C, stages = channels, []
        for index, S in enumerate(widths):
            first = _Block(C, S, 1 if index == 0 else 2, variant, aligned, projects=True)
            C = wide * S
            stages.append(nn.Sequential(first, _Block(C, S, 1, variant, aligned)))
        self.net3d = nn.Sequential(*stages)
        self.fc = nn.Linear(C, num_classes)

    def forward(self, clips: Clips) -> torch.Tensor:
        maps = self.net2d(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return self.fc(self.net3d(maps.transpose(1, 2)).mean((2, 3, 4)))


class _R3d(nn.Module):
    def __init__(self, width: int, num_classes: int, variant: str, aligned: bool) -> None:
        super().__init__()
        self.stem = _normed(3, width, 3, 1, variant, aligned)
        C = width
        for index in range(4):
            S = width * 2**index
            s, projects = (1, False) if index == 0 else (2, True)
            block = _Block(C, S, s, variant, aligned, projects)
            setattr(self, f"layer{index + 1}", nn.Sequential(block))
            C = S
        self.fc = nn.Linear(C, num_classes)

    def forward(self, clips: Clips) -> torch.Tensor:
        x = torch.relu(self.stem(clips.transpose(1, 2)))
        for index in range(4):
            x = getattr(self, f"layer{index + 1}")(x)
        return self.fc(x.mean((2, 3, 4)))
