"""Every case against its torch twins, through the same record and replay as a two-sided run."""

from __future__ import annotations

import pytest

from cross_check.cases import CASES, Case

pytest.importorskip("torch", reason="the twins are torch modules: pip install -e '.[cross-check]'")

RUNS = [
    pytest.param(
        *(case, mode, dtype),
        marks=() if mode in case.quick else pytest.mark.slow,
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
