"""Vision transformers Ti, S and B (arXiv:2010.11929, 2012.12877) in timm's layout.

Cells carry timm's names (``blocks.0.attn.qkv``, ``blocks.0.mlp.fc1``, ``head``), so that weights
and layer patterns of the field apply as they are.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops

from ms_eff.errors import ConfigError
from ms_eff.models.attention import Attention
from ms_eff.models.gelu import GELU
from ms_eff.models.initial import lecun_normal, projection, truncated_normal
from ms_eff.models.positions import resize_positions
from ms_eff.models.row_sums import bias_add

__all__ = [
    "Block",
    "PatchEmbed",
    "VisionTransformer",
    "vit",
    "vit_base_patch16",
    "vit_base_patch32",
    "vit_small_patch16",
    "vit_small_patch32",
    "vit_tiny_patch16",
    "vit_tiny_patch32",
]

# width of the MLP over that of the tokens, in every published ViT
_MLP_RATIO = 4
_EPSILON = 1e-6


class PatchProjection(nn.Cell):
    """A convolution whose stride is its kernel, as a matrix product over cut-out patches.

    The weight has the convolution's shape, ``(dim, channels, patch, patch)``, and is one to every
    checkpoint. A k x k convolution is no match on CPUs (see `ms_eff.runtime`).
    """

    def __init__(self, rng: np.random.Generator, channels: int, patch: int, dim: int) -> None:
        super().__init__()
        self.channels, self.patch, self.dim = channels, patch, dim
        weight = lecun_normal(rng, (dim, channels, patch, patch))
        self.weight = Parameter(ms.Tensor(weight), name="weight")
        self.bias = Parameter(ms.Tensor(np.zeros(dim, np.float32)), name="bias")
        self.matmul = ops.MatMul(transpose_b=True)
        self.bias_add = bias_add()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map ``(B, channels, H, W)`` to ``(B, H/patch * W/patch, dim)``, row by row."""
        p = self.patch
        rows, columns = x.shape[2] // p, x.shape[3] // p
        inner = self.channels * p * p
        x = ops.reshape(x, (-1, self.channels, rows, p, columns, p))
        x = ops.reshape(ops.transpose(x, (0, 2, 4, 1, 3, 5)), (-1, inner))
        # the weights stay float32 in mixed precision, unlike those of MindSpore's own layers
        weight = ops.reshape(self.weight, (self.dim, inner)).astype(x.dtype)
        y = self.bias_add(self.matmul(x, weight), self.bias.astype(x.dtype))
        return ops.reshape(y, (-1, rows * columns, self.dim))

    def own_macs(self, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
        """Return the multiply-accumulates of the product: each output sums over one patch."""
        batch, patches, dim = output
        return batch * patches * dim * self.channels * self.patch**2


class PatchEmbed(nn.Cell):
    """Images to patch tokens; holds the projection under timm's name."""

    def __init__(self, rng: np.random.Generator, channels: int, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = PatchProjection(rng, channels, patch, dim)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map ``(B, channels, H, W)`` to ``(B, patches, dim)``."""
        return self.proj(x)


class Mlp(nn.Cell):
    """dim -> hidden -> dim with exact GELU between."""

    def __init__(self, rng: np.random.Generator, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = projection(rng, dim, hidden)
        self.act = GELU()
        self.fc2 = projection(rng, hidden, dim)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map ``(B, N, dim)`` to ``(B, N, dim)``."""
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Cell):
    """A pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        rng: source of the initial weights.
        dim: channels of the tokens.
        heads: number of attention heads.
    """

    def __init__(self, rng: np.random.Generator, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm((dim,), epsilon=_EPSILON)
        self.attn = Attention(rng, dim, heads)
        self.norm2 = nn.LayerNorm((dim,), epsilon=_EPSILON)
        self.mlp = Mlp(rng, dim, _MLP_RATIO * dim)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map ``(B, N, dim)`` to ``(B, N, dim)``."""
        return self.with_weights(x)[0]

    def with_weights(self, x: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Return the output and the attention ``(B, heads, N, N)`` that led to it."""
        y, weights = self.attn.with_weights(self.norm1(x))
        x = x + y
        return x + self.mlp(self.norm2(x)), weights


class VisionTransformer(nn.Cell):
    """A vision transformer: patches, class token, learned positions, pre-norm blocks, one head.

    Args:
        num_classes: outputs of the head.
        in_channels: channels of the input images.
        image_size: side of the square images, or (height, width); multiples of the patch.
        patch_size: side of a patch.
        dim: channels of a token.
        depth: number of blocks.
        heads: attention heads; divide `dim`.
        pool: the head sees the class ``token``, or the ``mean`` over the patches, in which case
            there is no class token and the final normalisation, called ``fc_norm`` as in timm,
            follows the mean.
        seed: of the initial weights.

    Raises:
        ConfigError: a size below 1, another pool, heads or patches that do not fit.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        dim: int = 384,
        depth: int = 12,
        heads: int = 6,
        pool: str = "token",
        seed: int = 0,
    ) -> None:
        super().__init__()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        _check(
            num_classes=num_classes, in_channels=in_channels, patch_size=patch_size, dim=dim,
            depth=depth, heads=heads,
        )  # fmt: skip
        _check_fit(height, width, patch_size, dim, heads, pool)
        rng = np.random.default_rng(seed)
        self.image_size, self.grid = (height, width), (height // patch_size, width // patch_size)
        self.dim, self.pool = dim, pool
        self.patch_embed = PatchEmbed(rng, in_channels, patch_size, dim)
        tokens = self.grid[0] * self.grid[1] + (pool == "token")
        self.cls_token: Parameter | None = None
        if pool == "token":
            token = truncated_normal(rng, (1, 1, dim), 1e-6)
            self.cls_token = Parameter(ms.Tensor(token), name="cls_token")
        positions = truncated_normal(rng, (1, tokens, dim), 0.02)
        self.pos_embed = Parameter(ms.Tensor(positions), name="pos_embed")
        self.blocks = nn.SequentialCell([Block(rng, dim, heads) for _ in range(depth)])
        norm = nn.LayerNorm((dim,), epsilon=_EPSILON)
        if pool == "token":
            self.norm = norm
        else:
            self.fc_norm = norm
        self.head = projection(rng, dim, num_classes)
        self.concat = ops.Concat(1)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return logits ``(B, num_classes)`` of images ``(B, in_channels, *image_size)``."""
        return self.head(self.pooled(self.blocks(self.tokens(x))))

    def tokens(self, x: ms.Tensor) -> ms.Tensor:
        """Return what the first block sees, ``(B, N, dim)``: the class token, if any, first."""
        x = self.patch_embed(x)
        if self.cls_token is not None:
            # one token an image, without asking how many images: ONNX's batch axis may be free
            token = self.cls_token.astype(x.dtype) + 0.0 * x[:, :1]
            x = self.concat((token, x))
        return x + self.pos_embed.astype(x.dtype)

    def pooled(self, x: ms.Tensor) -> ms.Tensor:
        """Return the features ``(B, dim)`` that the head sees of the last block's output."""
        if self.cls_token is not None:
            return self.norm(x[:, 0])
        return self.fc_norm(x.mean(1))

    def fit_array(self, name: str, array: np.ndarray) -> tuple[np.ndarray, str] | None:
        """Bring positions of another image size to this one's (see `load_weights`)."""
        if name != "pos_embed" or array.shape[-1] != self.dim:
            return None
        resized = resize_positions(array, self.grid, prefix=int(self.pool == "token"))
        if resized is None:
            return None
        positions, (rows, columns) = resized
        new = f"{self.grid[0]} x {self.grid[1]}"
        return positions, f"pos_embed: resampled from {rows} x {columns} patches to {new}"


def _check(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name}: expected at least 1, got {size}")


def _check_fit(height: int, width: int, patch: int, dim: int, heads: int, pool: str) -> None:
    if min(height, width) < patch or height % patch or width % patch:
        raise ConfigError(
            f"image_size: {height} x {width} is no multiple of patch_size = {patch}; "
            "choose a patch that divides both sides"
        )
    if dim % heads:
        raise ConfigError(f"heads: {heads} does not divide dim = {dim}; choose a divisor")
    if pool not in ("token", "mean"):
        raise ConfigError(f"pool: expected 'token' or 'mean', got {pool!r}")


def vit(**args: Any) -> VisionTransformer:
    """Return a ViT of free sizes, ViT-S/16 unless told otherwise; see `VisionTransformer`."""
    return VisionTransformer(**args)


def vit_tiny_patch16(**args: Any) -> VisionTransformer:
    """Return ViT-Ti/16 (5,717,416 parameters at 224, 1000 classes)."""
    return VisionTransformer(**{"patch_size": 16, "dim": 192, "heads": 3} | args)


def vit_tiny_patch32(**args: Any) -> VisionTransformer:
    """Return ViT-Ti/32 (6,131,560 parameters at 224, 1000 classes)."""
    return VisionTransformer(**{"patch_size": 32, "dim": 192, "heads": 3} | args)


def vit_small_patch16(**args: Any) -> VisionTransformer:
    """Return ViT-S/16 (22,050,664 parameters at 224, 1000 classes)."""
    return VisionTransformer(**{"patch_size": 16, "dim": 384, "heads": 6} | args)


def vit_small_patch32(**args: Any) -> VisionTransformer:
    """Return ViT-S/32 (22,878,952 parameters at 224, 1000 classes)."""
    return VisionTransformer(**{"patch_size": 32, "dim": 384, "heads": 6} | args)


def vit_base_patch16(**args: Any) -> VisionTransformer:
    """Return ViT-B/16 (86,567,656 parameters at 224, 1000 classes)."""
    return VisionTransformer(**{"patch_size": 16, "dim": 768, "heads": 12} | args)


def vit_base_patch32(**args: Any) -> VisionTransformer:
    """Return ViT-B/32 (88,224,232 parameters at 224, 1000 classes)."""
    return VisionTransformer(**{"patch_size": 32, "dim": 768, "heads": 12} | args)
