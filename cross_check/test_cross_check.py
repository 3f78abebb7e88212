"""Every case against its torch twins, through the same record and replay as a two-sided run."""

from __future__ import annotations

import pytest

from cross_check.cases import CASES, Case

pytest.importorskip("torch", reason="the twins are torch modules: pip install -e '.[cross-check]'")

# whole networks take seconds to compile
WHOLE = {
    *(f"vision:{name}" for name in ("resnet", "resnet9", "folded_resnet", "vit", "skipvit")),
    *(f"language:{name}" for name in ("bert", "gpt2", "truncated_gpt2", "gpt2_classifier")),
    *(f"language:{name}" for name in ("decoding_gpt2", "llama", "decoding_llama")),
    *(f"lowrank:{name}" for name in ("resnet", "vit", "merged_resnet")),
    *(f"clips:{name}" for name in ("eco_lite", "r3d18", "inception_eco_lite")),
    *(f"small_data:{name}" for name in ("ghost_resnet9", "whitened_resnet9")),
    *("progressive:member", "distillation:generated"),
}


def _marks(case: Case, mode: str) -> tuple[pytest.MarkDecorator, ...]:
    if mode not in case.quick:
        return (pytest.mark.slow,)
    return (pytest.mark.slow, pytest.mark.gate) if case.cell in WHOLE else ()


RUNS = [
    pytest.param(
        *(case, mode, dtype),
        marks=_marks(case, mode),
        id=f"{case.name}-{mode}-{dtype}",
    )
    for case in CASES
    for mode in ("graph", "pynative")
    for dtype in case.dtypes
]


@pytest.mark.parametrize(("case", "mode", "dtype"), RUNS)
def test_torch_agrees(case: Case, mode: str, dtype: str) -> None:
    from cross_check.compare import table
    from cross_check.record import run
    from cross_check.replay import replay

    for record in run(case, mode, dtype):
        if "hf_" in record.twin:
            pytest.importorskip("transformers")
        rows = replay(record)
        assert {"forward", "gradients of weights", "update of weights", "loss curve"} <= {
            r.quantity for r in rows
        }
        assert all(row.passed for row in rows), "\n" + table(rows)
        losses = record.arrays["losses"]
        assert losses[-1] < losses[0], f"a rate too high to learn anything: {losses}"
