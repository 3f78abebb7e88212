"""Every cell of ms_eff stands in a case, or below with the reason why not."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from mindspore import nn

import ms_eff
from cross_check.cases import CASES
from cross_check.cells import build

_STEP = "a part of a training step: what steps compute is compared as a recipe"
_TIMED = "is timed by benchmarks, which throw its outputs away"
_RIVAL = "a rival of benchmarks, against NumPy in tests/bench/rivals/test_tome.py"
_MOMENTS = "gathers statistics, against other sums in tests/methods/lowrank/test_graph_moments.py"

EXCEPTIONS = {
    "ms_eff.bench.latency.MomentumStep": _TIMED,
    "ms_eff.bench.layers._Forward": _TIMED,
    "ms_eff.bench.layers._ForwardBackward": _TIMED,
    "ms_eff.bench.part.WithGradients": _TIMED,
    "ms_eff.bench.rivals.tome_cells.Matching": _RIVAL,
    "ms_eff.bench.rivals.tome_cells.MergingBlock": _RIVAL,
    "ms_eff.bench.rivals.tome_cells.MergingBlocks": _RIVAL,
    "ms_eff.deploy.writers._Whole": "passes its inputs on to a network that is exported",
    "ms_eff.methods.distillation.cells.AnnealedForward": _STEP,
    "ms_eff.methods.distillation.cells.CosineForward": _STEP,
    "ms_eff.methods.distillation.cells.TaughtForward": _STEP,
    "ms_eff.methods.distillation.mate.AdversarialForward": _STEP,
    "ms_eff.methods.distillation.mate.MaskedForward": _STEP,
    "ms_eff.methods.distillation.mate.MateForward": _STEP,
    "ms_eff.methods.distillation.rail.RailForward": _STEP,
    "ms_eff.methods.lowrank.graph_moments._Backward": _MOMENTS,
    "ms_eff.methods.lowrank.graph_moments._Product": _MOMENTS,
    "ms_eff.methods.lowrank.graph_moments._Tap": _MOMENTS,
    "ms_eff.methods.lowrank.graph_moments._Tapped": _MOMENTS,
    "ms_eff.methods.lowrank.statistics._Alone": "passes its inputs on to a network it compiles",
    "ms_eff.methods.skipvit.surgery._Order": "the indices by which every SkipViT case gathers",
    "ms_eff.methods.small_data.aside.Aside": _STEP,
    "ms_eff.methods.small_data.meta.MetaGradient": _STEP,
    "ms_eff.methods.small_data.sam.SharpGradient": _STEP,
    "ms_eff.methods.swiftlearn.cells.WeightedForward": _STEP,
    "ms_eff.models.decoding.Prefill": "one call of `prefill`, which the cases with a cache make",
    "ms_eff.models.decoding._Next": "one call of `decode`, which the cases with a cache make",
    "ms_eff.train.optim.Update": "takes the steps of every case",
    "ms_eff.train.scaling.LossScale": _STEP,
    "ms_eff.train.scaling.Scaled": _STEP,
    "ms_eff.train.step.Forward": _STEP,
    "ms_eff.train.step.TrainStep": _STEP,
}
# registers things with mindformers where it is imported, and needs the extra llm
_NOT_IMPORTED = ("ms_eff.mindformers",)


def _subclasses(kind: type) -> Iterator[type]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@pytest.fixture(scope="module")
def ours() -> set[str]:
    for module in pkgutil.walk_packages(ms_eff.__path__, "ms_eff."):
        if not module.name.endswith("__main__") and module.name not in _NOT_IMPORTED:
            importlib.import_module(module.name)
    found = {_name(kind) for kind in _subclasses(nn.Cell)}
    return {name for name in found if name.startswith("ms_eff.") and _counts(name)}


def _counts(name: str) -> bool:
    # other tests of the same process may have imported what is not imported here
    return "<locals>" not in name and not name.startswith(tuple(f"{m}." for m in _NOT_IMPORTED))


@pytest.fixture(scope="module")
def covered() -> set[str]:
    types: set[type] = set()
    for case in CASES:
        cell = build(case.cell, case.args).cell
        types |= {type(part) for _, part in cell.cells_and_names()}
    # a base whose heir is in a case is run with it
    return {_name(base) for kind in types for base in kind.__mro__}


def test_every_cell_stands_in_a_case(ours: set[str], covered: set[str]) -> None:
    missing = ours - covered - EXCEPTIONS.keys()
    assert not missing, f"no case of cross_check/tables has {', '.join(sorted(missing))}"


def test_exceptions_are_cells_that_no_case_has(ours: set[str], covered: set[str]) -> None:
    assert EXCEPTIONS.keys() <= ours, sorted(EXCEPTIONS.keys() - ours)
    assert not EXCEPTIONS.keys() & covered, sorted(EXCEPTIONS.keys() & covered)
