"""Timing of large matrices, on small ones."""

from __future__ import annotations

import json

import pytest

from ms_eff.bench import decompose_llm


@pytest.mark.parametrize("rule", decompose_llm.RULES)
def test_the_loss_is_the_least_with_statistics_of_half_rank(
    rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decompose_llm.main(["--one", "64", "128", rule]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["loss_over_minimum"] == pytest.approx(1, abs=1e-6)
    assert row["seconds"] > 0 < row["peak_bytes"]


def test_the_shapes_are_those_of_the_published_model() -> None:
    weights = sum(S * C * count for (S, C), count in decompose_llm.LLAMA_2_7B.items())
    assert weights == 6_738_415_616 - 2 * 32_000 * 4096 - (2 * 32 + 1) * 4096
