"""3D convolutions of a network exchanged for 2D ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff.errors import ConfigError, PlanError, nearest
from ms_eff.methods.replace import replaced
from ms_eff.methods.spatiotemporal.cells import FiveD
from ms_eff.methods.spatiotemporal.core import ALIGNABLE, VARIANTS, ConvShape
from ms_eff.methods.spatiotemporal.norms import in_sequences, norms_behind
from ms_eff.methods.spatiotemporal.plan import ConvReport, SpatiotemporalPlan
from ms_eff.methods.spatiotemporal.tracing import Seen, trace
from ms_eff.methods.spatiotemporal.transfer import take_over, widened_inputs
from ms_eff.methods.spatiotemporal.variants import build
from ms_eff.models.clips import ClipLayout

__all__ = ["apply_spatiotemporal", "rebuild"]

Applied = tuple[nn.Cell, SpatiotemporalPlan, list[ConvReport]]


def apply_spatiotemporal(
    network: nn.Cell,
    variant: str = "add",
    *,
    aligned: bool = False,
    input_shape: Sequence[int] | None = None,
    fresh_seed: int | None = None,
) -> Applied:
    """Return a copy of a network whose 3D convolutions are 2D ones (arXiv:2407.16514).

    Each `nn.Conv3d` goes, and with it the `nn.BatchNorm3d` that is all that takes its output; the
    new cells have a normalisation a convolution in its place. Networks of `ms_eff.models.clips`
    then keep the frames of all clips in the batch axis, and no tensor of rank 5 is left. In other
    networks each new cell takes and gives 5D tensors, and a normalisation that takes something else
    stays where it is.

    Kernels (1, d, d) and (d, 1, 1) are taken over exactly; of others, `add`, `cat`, `tsm` and
    `spatial` take the nearest by least squares, and the rest of the variants start from new ones.

    Args:
        network: stays as it is.
        variant: one of `core.VARIANTS`.
        aligned: see `SpatiotemporalSettings`.
        input_shape: of its input, batch axis first, unless the network says so itself by an
            attribute of that name; needed by `cat`, whose layers are wider, and to see what takes a
            convolution's output, where both do not stand in an `nn.SequentialCell`.
        fresh_seed: draw all new weights from this seed instead of taking any over; a network that
            was never trained has nothing to keep.

    Returns:
        The new network, the plan that `rebuild` needs, and a report a convolution.

    Raises:
        ConfigError: unknown variant, one that cannot be aligned, no input shape where one is
            needed, or maps that the paper's strided block cannot take.
        PlanError: the network has no 3D convolution, or one that cannot be replaced.

    >>> from ms_eff import models
    >>> network = models.build("eco_lite_small", width=6, image_size=8, frames=4)
    >>> flat, plan, report = apply_spatiotemporal(network, "add")
    >>> len(report), report[0].layer, report[0].shape, report[0].weights
    (15, 'net3d.0.0.conv1.0', (6, 8, 3, 3, 3), 'least squares')
    """
    if variant not in VARIANTS:
        raise ConfigError(
            f"variant: unknown '{variant}'{nearest(variant, VARIANTS)}; known: "
            f"{', '.join(VARIANTS)}"
        )
    if aligned and variant not in ALIGNABLE:
        raise ConfigError(
            f"aligned: for {' and '.join(ALIGNABLE)} only; {variant} reads the grid as it is"
        )
    shape = input_shape or getattr(network, "input_shape", None)
    layers = tuple(_find(network))
    if not layers:
        raise PlanError(
            f"spatiotemporal: {type(network).__name__} has no nn.Conv3d; build a network for clips "
            "(`ms_eff list`)"
        )
    one = (1, *shape[1:]) if shape else None
    plan = SpatiotemporalPlan(variant, aligned, layers, one)
    changed, report = _exchanged(network, plan, fresh_seed)
    return changed, plan, report


def rebuild(network: nn.Cell, plan: SpatiotemporalPlan | Mapping[str, Any]) -> nn.Cell:
    """Return a copy of a network with the cells of a plan; the weights are loaded later.

    Args:
        network: built as the one that the plan was made for.
        plan: a plan or its JSON.

    Raises:
        PlanError: the plan does not fit the network.
    """
    plan = plan if isinstance(plan, SpatiotemporalPlan) else SpatiotemporalPlan.from_json(plan)
    found = tuple(_find(network))
    if found != plan.layers:
        odd = sorted(set(found) ^ set(plan.layers)) or ["none, but their order"]
        raise PlanError(
            f"plan: its 3D convolutions are not the network's; different: {', '.join(odd[:3])}"
        )
    return _exchanged(network, plan, 0)[0]


@dataclass(frozen=True)
class _Layer:
    """A 3D convolution in its network; `norm` is the (name, cell) behind it, or None."""

    name: str
    conv: nn.Conv3d
    shape: ConvShape
    norm: tuple[str, nn.Cell] | None = None


def _exchanged(
    network: nn.Cell, plan: SpatiotemporalPlan, seed: int | None
) -> tuple[nn.Cell, list[ConvReport]]:
    layers = [_layer(name, conv) for name, conv in _find(network).items()]
    shapes = {id(layer.conv): layer.shape for layer in layers}
    if plan.variant == "conv3d":
        norms = in_sequences(network, shapes)
        layers = [replace(layer, norm=norms.get(id(layer.conv))) for layer in layers]
        return copy.deepcopy(network), [_untouched(layer) for layer in layers]
    folded = any(isinstance(cell, ClipLayout) for _, cell in network.cells_and_names())
    layers, seen = _seen(network, layers, shapes, plan, folded)
    rng = np.random.default_rng(seed or 0)
    swaps: list[tuple[nn.Cell, nn.Cell]] = []
    report = []
    for layer in layers:
        new, row = _replacement(layer, plan, seen, rng, seed is None, folded)
        swaps.append((layer.conv, new))
        if layer.norm is not None:
            swaps.append((layer.norm[1], nn.Identity()))
        report.append(row)
    swaps += _wider_dense(network, seen, rng, seed is None)
    changed = replaced(network, swaps)
    for _, cell in changed.cells_and_names():
        if isinstance(cell, ClipLayout):
            cell.folded = True
    return changed, report


def _find(network: nn.Cell) -> dict[str, nn.Conv3d]:
    cells = network.cells_and_names()
    return {name: cell for name, cell in cells if isinstance(cell, nn.Conv3d)}


def _layer(name: str, conv: nn.Conv3d) -> _Layer:
    """Read a convolution, or say why it cannot be replaced."""
    kernel, stride = tuple(conv.kernel_size), tuple(conv.stride)
    pads = (0,) * 6
    if conv.pad_mode == "pad":
        pads = (conv.padding,) * 6 if isinstance(conv.padding, int) else tuple(conv.padding)
    elif conv.pad_mode == "same" and set(stride) == {1}:
        pads = tuple(size // 2 for size in kernel for _ in range(2))
    reason = None
    if conv.group != 1 or set(conv.dilation) != {1}:
        reason = "groups or dilation"
    elif conv.pad_mode == "same" and set(stride) != {1}:
        reason = "pad_mode='same' with a stride; write pad_mode='pad' and the padding"
    elif any(size % 2 == 0 for size in kernel) or pads[::2] != pads[1::2]:
        reason = "an even kernel, or padding that differs between the sides"
    elif pads[0] != kernel[0] // 2:
        reason = f"a kernel of {kernel[0]} frames and padding {pads[0]} in time; half is needed"
    elif kernel[0] > 1 and (pads[2], pads[4]) != (kernel[1] // 2, kernel[2] // 2):
        reason = "another padding than half the kernel"
    if reason is not None:
        raise PlanError(f"layer '{name}': cannot be replaced: it has {reason}")
    shape = ConvShape(conv.in_channels, conv.out_channels, kernel, stride, (pads[2], pads[4]))
    return _Layer(name, conv, shape)


def _seen(
    network: nn.Cell,
    layers: Sequence[_Layer],
    shapes: Mapping[int, ConvShape],
    plan: SpatiotemporalPlan,
    folded: bool,
) -> tuple[list[_Layer], Seen]:
    """Return the layers with their normalisations, and what arrives where."""
    strict = folded or plan.variant == "cat"  # where 5D tensors are gone, or wider
    if strict and plan.input_shape is None:
        raise ConfigError(
            "input_shape: `cat`'s wider layers, and clips whose frames lie in the batch axis, take "
            "a run through the network; give the shape of its input, batch axis first"
        )
    norms, seen = norms_behind(network, shapes, plan.input_shape, strict)
    if plan.variant == "cat" and plan.input_shape is not None:
        seen = trace(network, shapes, plan.input_shape, widened=2)
    for layer in layers:
        if strict and id(layer.conv) not in seen.frames:
            raise PlanError(f"layer '{layer.name}': no clip arrives there; remove it")
        if folded and id(layer.conv) in seen.uneven:
            raise PlanError(
                f"layer '{layer.name}': clips of several lengths arrive there, and its 2D ones "
                "know one; give each length its own convolution"
            )
        if id(layer.conv) in seen.maps:
            _check_map(layer, plan, seen.maps[id(layer.conv)])
    return [replace(layer, norm=norms.get(id(layer.conv))) for layer in layers], seen


def _check_map(layer: _Layer, plan: SpatiotemporalPlan, size: tuple[int, int]) -> None:
    """Refuse a map that the paper's stride over flattened pixels does not fit."""
    shape = layer.shape
    if plan.variant not in ALIGNABLE or plan.aligned or shape.spatial_only or shape.temporal_only:
        return
    if any(pixels % step for pixels, step in zip(size, shape.down, strict=True)):
        raise ConfigError(
            f"aligned: layer '{layer.name}' strides by {shape.down[0]} x {shape.down[1]} over a "
            f"map of {size[0]} x {size[1]}, which the paper's block cannot divide; set aligned to "
            "true, or give frames of another size (data.image_size)"
        )


def _replacement(
    layer: _Layer,
    plan: SpatiotemporalPlan,
    seen: Seen,
    rng: np.random.Generator,
    keeps: bool,
    folded: bool,
) -> tuple[nn.Cell, ConvReport]:
    conv, norm = layer.conv, None if layer.norm is None else layer.norm[1].bn2d
    shape = replace(layer.shape, in_channels=seen.channels.get(id(conv), layer.shape.in_channels))
    block = build(plan.variant, shape, rng, norm, conv.has_bias, plan.aligned)
    error = take_over(conv, norm, block) if keeps else None
    block.frames = seen.frames.get(id(conv), 0)
    new = block if folded else FiveD(block)
    prefix = conv.weight.name.removesuffix("weight")
    for name, parameter in new.parameters_and_names():
        parameter.name = prefix + name
    new.set_train(conv.training)
    one_sided = shape.spatial_only or (shape.temporal_only and plan.variant != "spatial")
    row = ConvReport(
        layer.name,
        ("spatial" if shape.spatial_only else "temporal") if one_sided else plan.variant,
        tuple(conv.weight.shape),
        None if layer.norm is None else layer.norm[0],
        True,
        _size(conv) + (0 if norm is None else _size(norm)),
        _size(new),
        "new" if error is None else "kept" if error == 0.0 else "least squares",
        error,
    )
    return new, row


def _wider_dense(
    network: nn.Cell, seen: Seen, rng: np.random.Generator, keeps: bool
) -> list[tuple[nn.Cell, nn.Cell]]:
    """Return (old, new) dense layers where the features have become more."""
    swaps: list[tuple[nn.Cell, nn.Cell]] = []
    for _, old in network.cells_and_names():
        inputs = seen.channels.get(id(old), 0)
        if not isinstance(old, nn.Dense) or inputs in (0, old.in_channels):
            continue
        weight = widened_inputs(old.weight.asnumpy(), inputs)
        if not keeps:
            bound = 1.0 / np.sqrt(inputs)
            weight = rng.uniform(-bound, bound, weight.shape)
        new = copy.deepcopy(old)
        new.in_channels = inputs
        new.weight = ms.Parameter(ms.Tensor(weight.astype(np.float32)), name=old.weight.name)
        swaps.append((old, new))
    return swaps


def _untouched(layer: _Layer) -> ConvReport:
    norm = layer.norm
    size = _size(layer.conv) + (0 if norm is None else _size(norm[1]))
    shape = tuple(layer.conv.weight.shape)
    name = None if norm is None else norm[0]
    return ConvReport(layer.name, "conv3d", shape, name, False, size, size, "kept", 0.0)


def _size(cell: nn.Cell) -> int:
    return int(sum(parameter.size for parameter in cell.trainable_params()))
