"""Low-rank layers in plain torch, and their factors computed anew with `torch.linalg.svd`.

Children are called `first`, `core` and `last` in the order of the data (arXiv:2407.20266).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from cross_check.twins.resnet import plain_resnet
from cross_check.twins.vit import plain_vit

__all__ = [
    "conv",
    "dense",
    "embedding",
    "factors",
    "frozen_conv",
    "hooi",
    "resnet",
    "table_factors",
    "ungrouped",
    "vit",
    "weighted_factors",
    "with_factors",
]

Arrays = Mapping[str, np.ndarray]


def dense(ranks: Mapping[str, list[int]], C: int, S: int, bias: bool = True) -> nn.Module:
    """Return C -> R -> S for the rank of the layer named ``""``."""
    return _pair(nn.Linear(C, S, bias), ranks[""])


def conv(
    ranks: Mapping[str, list[int]], C: int, S: int, branches: int = 1, **geometry: Any
) -> nn.Module:
    """Return a 1x1 pair or a Tucker triple; `geometry` is that of `torch.nn.Conv2d`."""
    return _pair(nn.Conv2d(C, S, **geometry), ranks[""], branches)


def embedding(ranks: Mapping[str, list[int]], V: int, d: int) -> nn.Module:
    """Return a table (V, R) and a dense layer R -> d."""
    return _pair(nn.Embedding(V, d), ranks[""])


def resnet(ranks: Mapping[str, list[int]], **args: Any) -> nn.Module:
    """Return the plain ResNet with the layers that `ranks` names in factors."""
    return with_factors(plain_resnet(**args), ranks)


def vit(ranks: Mapping[str, list[int]], **args: Any) -> nn.Module:
    """Return the plain vision transformer with the layers that `ranks` names in factors."""
    return with_factors(plain_vit(**args), ranks)


def frozen_conv(ranks: Mapping[str, list[int]], frozen: list[str], **args: Any) -> nn.Module:
    """Return what `conv` does with some factors resting."""
    network = conv(ranks, **args)
    for name in frozen:
        network.get_submodule(name).weight.requires_grad_(False)
    return network


def with_factors(network: nn.Module, ranks: Mapping[str, list[int]]) -> nn.Module:
    """Put factors in the place of the layers that `ranks` names; return the network."""
    for name, rank in ranks.items():
        parent, _, child = name.rpartition(".")
        owner = network.get_submodule(parent)
        setattr(owner, child, _pair(getattr(owner, child), rank))
    return network


def factors(
    dense: Arrays, weights: Arrays, ranks: Mapping[str, list[int]], branches: int = 1, **_: Any
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return what the stored factors multiply to, and the same from torch's own decomposition."""
    found, expected = {}, {}
    for name, array in dense.items():
        layer = name.rpartition(".")[0]
        prefix = f"{layer}." if layer else ""
        parts = [
            torch.from_numpy(np.array(weights[f"{prefix}{part}.weight"], np.float64))
            for part in ("first", "core", "last")
            if f"{prefix}{part}.weight" in weights
        ]
        whole = torch.from_numpy(np.array(array, np.float64))
        if len(parts) == 3:
            first, core, last = parts
            found[name] = _compose(first, ungrouped(core, branches), last).numpy()
            expected[name] = hooi(whole, *ranks[layer], branches).numpy()
        else:
            found[name] = _product(whole, *parts).numpy()
            expected[name] = _truncated(whole, ranks[layer][0]).numpy()
    return found, expected


def weighted_factors(
    dense: Arrays, weights: Arrays, ranks: Mapping[str, list[int]], **_: Any
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the outputs on the inputs that came along: of the factors, and the best there are.

    Of all matrices of that rank, those give the outputs closest to the layer's own (without bias)
    whose outputs are its truncated SVD.
    """
    x, whole, first, last = (
        torch.from_numpy(np.array(array, np.float64))
        for array in (
            dense["inputs"], dense["weight"], weights["first.weight"], weights["last.weight"]
        )
    )  # fmt: skip
    best = _truncated(x @ whole.T, ranks[""][0])
    return {"outputs": (x @ first.T @ last.T).numpy()}, {"outputs": best.numpy()}


def table_factors(
    dense: Arrays, weights: Arrays, ranks: Mapping[str, list[int]], **_: Any
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the same for an embedding, whose tables lie the other way: (V, d) and (V, R)."""
    turned = {**weights, "first.weight": weights["first.weight"].T}
    return factors({name: table.T for name, table in dense.items()}, turned, ranks)


def _pair(layer: nn.Module, rank: list[int], branches: int = 1) -> nn.Module:
    """Return untrained factors with the layer's geometry; a bias is the last one's."""
    children: dict[str, nn.Module]
    if isinstance(layer, nn.Embedding):
        last = nn.Linear(rank[0], layer.embedding_dim, bias=False)
        children = {"first": nn.Embedding(layer.num_embeddings, rank[0]), "last": last}
    elif isinstance(layer, nn.Linear):
        first = nn.Linear(layer.in_features, rank[0], bias=False)
        last = nn.Linear(rank[0], layer.out_features, layer.bias is not None)
        children = {"first": first, "last": last}
    else:
        C, S, has_bias = layer.in_channels, layer.out_channels, layer.bias is not None
        geometry = {
            "stride": layer.stride,
            "padding": layer.padding,
            "dilation": layer.dilation,
            "bias": False,
        }
        if layer.kernel_size == (1, 1):  # strided first, so that the second sees fewer pixels
            children = {"first": nn.Conv2d(C, rank[0], 1, **geometry)}
        else:
            children = {
                "first": nn.Conv2d(C, rank[0], 1, bias=False),
                "core": nn.Conv2d(rank[0], rank[1], layer.kernel_size, groups=branches, **geometry),
            }
        children["last"] = nn.Conv2d(rank[-1], S, 1, bias=has_bias)
    chain = nn.Sequential()
    for name, child in children.items():
        chain.add_module(name, child)
    return chain


def _product(whole: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    return (last.flatten(1) @ first.flatten(1)).reshape(whole.shape)


def _truncated(whole: torch.Tensor, rank: int) -> torch.Tensor:
    U, S, V = torch.linalg.svd(whole.flatten(1), full_matrices=False)
    return ((U[:, :rank] * S[:rank]) @ V[:rank]).reshape(whole.shape)


def _compose(first: torch.Tensor, core: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    return torch.einsum("sb,bahw,ac->schw", last[:, :, 0, 0], core, first[:, :, 0, 0])


def ungrouped(core: torch.Tensor, branches: int) -> torch.Tensor:
    """Return a grouped kernel as one that sees all channels, with zeros between the groups."""
    rows = core.chunk(branches)
    blank = torch.zeros_like(rows[0])
    return torch.cat(
        [torch.cat([row if i == j else blank for j in range(branches)], 1)
         for i, row in enumerate(rows)]
    )  # fmt: skip


def hooi(whole: torch.Tensor, r1: int, r2: int, branches: int = 1) -> torch.Tensor:
    """Return the rank (r1, r2) approximation of the channel modes: HOSVD, then HOOI sweeps.

    Several branches keep the blocks on the core's diagonal. Signs of the bases cancel, so the
    result is as unique as the singular values are distinct.

    They end when the relative error changes by less than 1e-6, at the latest after 20; on a noisy
    kernel they have not converged then, so the rule is part of what is compared.
    """

    def basis(modes: torch.Tensor, rank: int) -> torch.Tensor:
        return torch.linalg.svd(modes.flatten(1), full_matrices=False)[0][:, :rank]

    norm = torch.linalg.norm(whole)
    U = basis(whole.transpose(0, 1), r1)
    error = torch.tensor(torch.inf)
    for _ in range(20):
        V = basis(torch.einsum("schw,ca->sahw", whole, U), r2)
        U = basis(torch.einsum("schw,sb->cbhw", whole, V), r1)
        core = torch.einsum("schw,sb,ca->bahw", whole, V, U)
        approximation = torch.einsum("sb,bahw,ca->schw", V, core, U)
        previous, error = error, torch.linalg.norm(whole - approximation) / norm
        if previous - error < 1e-6:
            break
    kept = torch.block_diag(*[torch.ones(r2 // branches, r1 // branches)] * branches)
    core = core * kept[:, :, None, None]
    return torch.einsum("sb,bahw,ca->schw", V, core, U)
