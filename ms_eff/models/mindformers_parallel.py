"""A member of a family as MindFormers' Llama, shared out over a mesh of Ascend devices.

Never run on a board by us. On a CPU, where MindSpore cannot share models out, tests build the
network on a mesh, check each layer's layout, and compare its logits on a mesh of one device.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore import nn

from ms_eff.errors import ConfigError
from ms_eff.methods.lowrank.cells import LowRankDense
from ms_eff.methods.lowrank.rebuilding import rebuild
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.models.mindformers_llama import (
    load_mindformers,
    mindformers_llama,
    mindformers_plan,
)
from ms_eff.parallel import ParallelSettings, check_shape, context_of, mindformers_blocks
from ms_eff.train import checkpoint

__all__ = ["enter_mesh", "parallel_member", "share_factors"]

# MindFormers' layers whose inputs, not outputs, are shared: their sums meet in an all-reduce
_ROW_PARALLEL = ("wo", "w2")


def enter_mesh(settings: ParallelSettings) -> None:
    """Make MindSpore share what is compiled from here on; call it before a network is built.

    Raises:
        ConfigError: this device is no Ascend, or the job has another number of workers.
    """
    from mindspore.communication import GlobalComm, get_group_size, get_rank

    target = ms.get_context("device_target")
    if target != "Ascend":
        raise ConfigError(
            f"parallel: MindSpore shares models out on Ascend only, here is {target}; use "
            "model, pipeline and data 1"
        )
    workers = get_group_size() if GlobalComm.INITED else 1
    if workers != settings.devices:
        raise ConfigError(
            f"parallel: data x model x pipeline = {settings.data} x {settings.model} x "
            f"{settings.pipeline} = {settings.devices}, but the job has {workers} worker(s)"
        )
    ms.set_auto_parallel_context(**context_of(settings, get_rank() if workers > 1 else 0))


def parallel_member(
    path: str | Path, length: int, settings: ParallelSettings, **config: Any
) -> nn.Cell:
    """Return a family's member as MindFormers' `LlamaForCausalLM`, laid out on the mesh.

    Args:
        path: folder of the member, factors and all.
        length: tokens of a sequence.
        settings: the mesh; call `enter_mesh` first where it has several devices.
        **config: of `mindformers.LlamaConfig`, such as `use_flash_attention=True`.

    Raises:
        ConfigError: the model does not divide over the mesh.
        CheckpointError: the member is damaged, or of a shape MindFormers does not have.
    """
    from ms_eff.methods.progressive.members import read_plan

    found = checkpoint.read(path)
    shape = LlamaShape(**found.state["model"]["args"])
    check_shape(settings, shape)
    blocks = mindformers_blocks(settings)["parallel_config"]
    network = mindformers_llama(shape, length, parallel_config=blocks, **config)
    network = rebuild(network, mindformers_plan(read_plan(path)))
    share_factors(network, settings)
    return load_mindformers(network, found.weights)


def share_factors(network: nn.Cell, settings: ParallelSettings) -> list[str]:
    """Give each factor its layout; MindFormers has given the layers that stayed whole theirs.

    Of a layer whose outputs are shared (wq, wk, wv, w1, w3), every device holds all of `first` and
    its rows of `last`. Of one whose inputs are shared (wo, w2), each holds its columns of `first`
    and all of `last`: what is summed over the devices is R wide instead of the layer's width. The
    rank need not divide by anything.

    Args:
        network: of `mindformers_llama`, rebuilt from a plan; changed in place.
        settings: the mesh.

    Returns:
        The names of the layers.
    """
    data, model = settings.data, settings.model
    names = []
    for name, cell in network.cells_and_names():
        if not isinstance(cell, LowRankDense):
            continue
        if name.rpartition(".")[2] in _ROW_PARALLEL:
            # as MindFormers does, the sums are made whole at once
            cell.first.shard(((data, model), (1, model)), out_strategy_matmul=((data, 1),))
            cell.last.shard(((data, 1), (1, 1)), ((data, 1), (1,)))
        else:
            cell.first.shard(((data, 1), (1, 1)))
            cell.last.shard(((data, 1), (model, 1)), ((data, model), (model,)))
        names.append(name)
    return names
