"""Recomputation: less memory for more work, where the network is made of repeated blocks."""

from __future__ import annotations

from collections.abc import Iterator

from mindspore import nn, ops

from ms_eff.errors import ConfigError
from ms_eff.models.dropout import Dropout

__all__ = ["recompute_blocks"]


def recompute_blocks(network: nn.Cell) -> list[str]:
    """Mark the network's blocks so that the gradient computes their insides again, in place.

    A block is an item of a list or sequence of cells that has weights and is itself made of cells;
    of blocks within blocks, the outermost.

    Args:
        network: is marked; numbers stay the same. In pynative mode it runs as before.

    Returns:
        The names of the blocks.

    Raises:
        ConfigError: there are none, or they draw random numbers, which would be drawn anew.
    """
    blocks = dict(_blocks(network, ""))
    if not blocks:
        raise ConfigError(
            f"train.recompute: {type(network).__name__} has no repeated blocks; use false"
        )
    for name, block in blocks.items():
        if any(isinstance(cell, Dropout | nn.Dropout) for _, cell in block.cells_and_names()):
            raise ConfigError(
                f"train.recompute: block '{name}' has dropout, whose second draw would be another; "
                "use recompute=false, or model.dropout=0"
            )
        # the graph's half of Cell.recompute: its other half, for pynative mode, is a cell that
        # would stand among the network's and can be neither copied nor exported
        block._recompute()
        _run_once(block)
    return list(blocks)


def _run_once(block: nn.Cell) -> None:
    """Leave out what moves running statistics, or they would move twice (MindSpore 2.9.0)."""
    for _, cell in block.cells_and_names():
        for primitive in cell._primitives.values():
            if isinstance(primitive, ops.BatchNorm):
                # as Primitive.recompute does, which a second call finds replaced by its value
                primitive.add_prim_attr("recompute", False)


def _blocks(cell: nn.Cell, prefix: str) -> Iterator[tuple[str, nn.Cell]]:
    for name, child in cell.name_cells().items():
        path = f"{prefix}{name}"
        is_item = isinstance(cell, nn.CellList | nn.SequentialCell)
        is_list = isinstance(child, nn.CellList | nn.SequentialCell)
        if is_item and not is_list and child.name_cells() and _has_weights(child):
            yield path, child
        else:
            yield from _blocks(child, f"{path}.")


def _has_weights(cell: nn.Cell) -> bool:
    return next(iter(cell.get_parameters()), None) is not None
