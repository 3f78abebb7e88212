"""A plain vision transformer in torch under timm's names, and the one of HF transformers.

The plain one is written from the papers (arXiv:2010.11929, 1706.03762); it can pool by the mean,
which transformers' cannot.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["activations", "attention", "hf_vit", "plain_vit"]


def plain_vit(
    image_size: int,
    patch_size: int,
    dim: int,
    depth: int,
    heads: int,
    num_classes: int,
    in_channels: int = 3,
    pool: str = "token",
    q_index: list[int] | None = None,
    kv_index: list[int] | None = None,
) -> nn.Module:
    """Return a plain ViT that pools by the class `token` or by the `mean`.

    With index vectors, head n takes query `q_index[n]` and key and value `kv_index[n]`
    (arXiv:2311.03426), which are repeated here, head by head.
    """
    index = (q_index or list(range(heads)), kv_index or list(range(heads)))
    attentions: list[nn.Module] = [_Attention(dim, heads, *index) for _ in range(depth)]
    return _ViT(image_size, patch_size, dim, attentions, num_classes, in_channels, pool)


def hf_vit(
    image_size: int,
    patch_size: int,
    dim: int,
    depth: int,
    heads: int,
    num_classes: int,
    in_channels: int = 3,
) -> nn.Module:
    """Return transformers' ViTForImageClassification (its output has `.logits`)."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=dim,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=4 * dim,
        layer_norm_eps=1e-6,
        image_size=image_size,
        patch_size=patch_size,
        num_channels=in_channels,
        num_labels=num_classes,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return ViTForImageClassification(config)


def attention(dim: int, heads: int, q_index: list[int], kv_index: list[int]) -> nn.Module:
    """Return the attention of `plain_vit` by itself."""
    return _Attention(dim, heads, q_index, kv_index)


def activations(inputs: int, outputs: int, alpha: float) -> nn.Module:
    """Return dense layers with CELU behind the first and GELU behind the second."""
    first, second = nn.Linear(inputs, outputs), nn.Linear(outputs, outputs)
    return nn.Sequential(first, nn.CELU(alpha), second, nn.GELU())


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int, q_index: list[int], kv_index: list[int]) -> None:
        super().__init__()
        self.heads, self.q_index, self.kv_index = heads, q_index, kv_index
        self.sizes = (max(q_index) + 1, max(kv_index) + 1, max(kv_index) + 1)
        self.qkv = nn.Linear(dim, sum(self.sizes) * (dim // heads))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        images, tokens, dim = x.shape
        width = dim // self.heads
        q, k, v = self.qkv(x).view(images, tokens, -1, width).split(self.sizes, 2)
        q, k, v = q[:, :, self.q_index], k[:, :, self.kv_index], v[:, :, self.kv_index]
        weights = torch.einsum("bnhd,bmhd->bhnm", q, k) / width**0.5
        y = torch.einsum("bhnm,bmhd->bnhd", weights.softmax(-1), v)
        return self.proj(y.reshape(images, tokens, dim))


class _Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, dim: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = _Mlp(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _PatchEmbed(nn.Module):
    def __init__(self, channels: int, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch, patch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class _ViT(nn.Module):
    def __init__(
        self,
        image_size: int,
        patch: int,
        dim: int,
        attentions: list[nn.Module],
        num_classes: int,
        channels: int,
        pool: str,
    ) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbed(channels, patch, dim)
        patches = (image_size // patch) ** 2
        self.token = pool == "token"
        if self.token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, patches + self.token, dim))
        self.blocks = nn.Sequential(*(_Block(dim, attention) for attention in attentions))
        setattr(self, "norm" if self.token else "fc_norm", nn.LayerNorm(dim, eps=1e-6))
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x)
        if self.token:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = self.blocks(x + self.pos_embed)
        x = self.norm(x)[:, 0] if self.token else self.fc_norm(x.mean(1))
        return self.head(x)
