"""Exports, and that no tensor of rank 5 exists behind the input's reshape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mindspore import nn
from mindspore.train.mind_ir_pb2 import ModelProto

from ms_eff import models
from ms_eff.deploy import verify
from ms_eff.deploy.export import export
from ms_eff.methods.spatiotemporal import apply_spatiotemporal
from ms_eff.models.eco_lite import EcoLite
from tests.methods.spatiotemporal.networks import OneBlock, lively
from tests.tolerances import EXPORT

SHAPE = (2, 4, 3, 8, 8)
CASES = [("add", False), ("cat", False), ("r2plus1d", False), ("tsm", False)]
SLOW = [
    *(("add", True), ("cat", True), ("p3d_a", False), ("p3d_b", False), ("p3d_c", False)),
    *(("rank1", False), ("spatial", False)),
]


def tiny(variant: str, aligned: bool) -> nn.Cell:
    return apply_spatiotemporal(lively(OneBlock()), variant, aligned=aligned, fresh_seed=1)[0]


def mindir_ranks(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (operator, rank) of every tensor that a node of the graph gives."""
    model = ModelProto()
    model.ParseFromString(path.read_bytes())
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.name == "shape":
                    yield from ((node.op_type, len(tensor.dims)) for tensor in attribute.tensors)


def onnx_ranks(
    path: Path, folder: Path, shape: tuple[int, ...] = SHAPE
) -> Iterator[tuple[str, int]]:
    """Yield the same, from what onnxruntime notes of each node that it runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    session.run(None, {session.get_inputs()[0].name: np.zeros(shape, np.float32)})
    for event in json.loads(Path(session.end_profiling()).read_text()):
        arguments = event.get("args", {})
        for output in arguments.get("output_type_shape", []):
            yield from ((arguments["op_name"], len(shape)) for shape in output.values())


@pytest.mark.gate
@pytest.mark.parametrize(
    ("variant", "aligned"), [*CASES, *(pytest.param(*c, marks=pytest.mark.slow) for c in SLOW)]
)
def test_exports_reproduce_the_network_and_hold_no_5d_tensor(variant, aligned, tmp_path):
    network = tiny(variant, aligned)
    done = export(network, tmp_path / "n.mindir", SHAPE, dynamic_batch=variant == "add")
    assert done.difference.max_abs <= EXPORT
    found = list(mindir_ranks(done.path))
    assert len(found) > 20
    assert {kind for kind, rank in found if rank > 4} == set()
    pytest.importorskip("onnxruntime")
    done = export(network, tmp_path / "n.onnx", SHAPE, dynamic_batch=variant == "add")
    assert done.difference.within(EXPORT)
    found = list(onnx_ranks(done.path, tmp_path))
    assert len(found) > 10
    assert {kind for kind, rank in found if rank > 4} == set()


FREE = [("r2plus1d", False), ("tsm", False)]  # serial, and frames that are shifted
SLOW_FREE = [case for case in (*CASES, *SLOW) if case not in FREE and case != ("add", False)]


@pytest.mark.gate
@pytest.mark.parametrize(
    ("variant", "aligned"),
    [*FREE, *(pytest.param(*c, marks=pytest.mark.slow) for c in (*SLOW_FREE, ("conv3d", False)))],
)
def test_the_batch_axis_may_stay_free(variant, aligned, tmp_path):
    network = tiny(variant, aligned)
    clips = np.random.default_rng(5).standard_normal((5, *SHAPE[1:]), dtype=np.float32)
    expected = verify.live(network)((clips,))[0]
    pytest.importorskip("onnxruntime")
    for name in ("n.mindir", "n.onnx"):
        done = export(network, tmp_path / name, SHAPE, dynamic_batch=True)  # verified at 1 and 2
        found = verify.load(done.path)((clips,))[0]  # a size that no one has tried
        np.testing.assert_allclose(found, expected, atol=EXPORT * max(1, np.abs(expected).max()))


def whole(name: str) -> nn.Cell:
    """Return a whole network at a few channels."""
    if name == "eco_lite":  # maps of 8 x 8 behind the front
        network = EcoLite(
            "inception", (4, 4, 4), num_classes=3, frames=4, image_size=83
        )  # maps of 8 x 8
    elif name == "r3d18":  # its stem has a kernel of 3 x 7 x 7
        network = models.build(name, width=4, num_classes=3, frames=4, image_size=32)
    else:
        network = models.build(name, width=4, num_classes=3, frames=4, image_size=8)
    return lively(network)


NETWORKS = [
    *(("eco_lite_small", variant) for variant in ("cat", "tsm", "r2plus1d")),
    *(("eco_lite_small", f"p3d_{kind}") for kind in "abc"),
    *(("r3d18", v) for v in ("add", "cat", "tsm", "r2plus1d", "p3d_a", "p3d_b", "p3d_c")),
    *(("eco_lite", variant) for variant in ("add", "cat", "tsm", "p3d_b", "r2plus1d")),
]


@pytest.mark.gate
@pytest.mark.parametrize(
    ("name", "variant"),
    [("eco_lite_small", "add"), *(pytest.param(*c, marks=pytest.mark.slow) for c in NETWORKS)],
)
def test_whole_networks_hold_no_5d_tensor_behind_their_input(name, variant, tmp_path):
    network = lively(apply_spatiotemporal(whole(name), variant, fresh_seed=1)[0])
    shape = network.input_shape
    assert len(shape) == 5
    done = export(network, tmp_path / "n.mindir", shape)
    found = list(mindir_ranks(done.path))
    assert len(found) > 100
    assert {kind for kind, rank in found if rank > 4} == set()
    pytest.importorskip("onnxruntime")
    done = export(network, tmp_path / "n.onnx", shape)
    found = list(onnx_ranks(done.path, tmp_path, shape))
    assert len(found) > 50
    assert {kind for kind, rank in found if rank > 4} == set()


@pytest.mark.gate
def test_walk_finds_the_5d_tensors_of_a_3d_convolution(tmp_path):
    done = export(tiny("conv3d", False), tmp_path / "n.mindir", SHAPE)
    assert max(rank for _, rank in mindir_ranks(done.path)) == 5
