"""Timing of large matrices, on small ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ms_eff.bench import decompose_llm
from ms_eff.methods.lowrank.criteria import damped_gradients, damped_inputs


@pytest.mark.parametrize("rule", decompose_llm.RULES)
@pytest.mark.parametrize("shape", [(128, 128), (64, 160), (160, 64)])
def test_the_loss_is_the_least_with_statistics_of_half_rank(
    shape: tuple[int, int], rule: str
) -> None:
    row = decompose_llm.measure(shape, rule)
    assert row["loss_over_minimum"] == pytest.approx(1, abs=1e-6)
    assert row["seconds"] > 0 < row["peak_bytes"]


@pytest.mark.parametrize("rule", decompose_llm.RULES[1:])
@pytest.mark.parametrize(
    "width",
    [576, *(pytest.param(w, marks=pytest.mark.slow) for w in (1536, 4096))],
)
@pytest.mark.timeout(3600)
def test_the_loss_is_the_least_at_the_widths_of_models(width: int, rule: str) -> None:
    row = decompose_llm.measure((width, width), rule)
    assert row["loss_over_minimum"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(20, 30), (30, 20)])
@pytest.mark.parametrize("two_sided", [False, True])
def test_factors_that_are_not_the_best_lose_more_than_the_least(
    shape: tuple[int, int], two_sided: bool
) -> None:
    """The least is Eckart-Young's of the weight between NumPy's Cholesky factors."""
    rng = np.random.default_rng(0)
    (S, C), rank = shape, 7
    W = rng.standard_normal(shape)
    x, g = rng.standard_normal((C, 9)), rng.standard_normal((S, 400))
    G = damped_inputs(x @ x.T)
    F = damped_gradients(g @ g.T / 400) if two_sided else None
    left = np.linalg.cholesky(F).T if F is not None else np.eye(S)
    right = np.linalg.cholesky(G)
    least = np.sum(np.linalg.svd(left @ W @ right, compute_uv=False)[rank:] ** 2)
    # orthonormal columns, but any: the projection on them is not the best one
    V = np.linalg.qr(rng.standard_normal((S, rank)))[0]
    lost = np.sum((left @ (W - V @ V.T @ W) @ right) ** 2)
    found = decompose_llm.over_minimum(W, V.T @ W, V, G=G, F=F)
    assert found == pytest.approx(lost / least, rel=1e-6)
    assert found > 1.1


def test_rows_are_saved_one_by_one_and_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, seen = tmp_path / "rows.json", []

    def stopping(what: str, module: str, words: list[str]) -> dict[str, Any]:
        seen.append(words)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return {**row, "seconds": 80.0 + len(seen)}

    row = {"peak_bytes": 1, "rank": 2, "loss_over_minimum": 1 + 1e-9}
    monkeypatch.setattr(decompose_llm, "measured_apart", stopping)
    call = ["--rules", "plain", "--output", str(output)]
    with pytest.raises(KeyboardInterrupt):
        decompose_llm.main(call)
    assert [r["shape"] for r in json.loads(output.read_text())["rows"]] == [
        [4096, 4096], [11008, 4096],
    ]  # fmt: skip
    assert decompose_llm.main(call) == 0
    assert seen[2] == seen[3] == ["--one", "4096", "11008", "plain"]
    # (81 x 128 + 82 x 64 + 84 x 32) s
    assert f"LLaMA-2-7B in {(81 * 128 + 82 * 64 + 84 * 32) / 3600:.2f} h" in capsys.readouterr().out
    row["loss_over_minimum"] = 1 + 2e-6
    assert decompose_llm.main([*call, "--rules", "activation_aware"]) == 1
    assert "NOT met" in capsys.readouterr().out


def test_one_matrix_is_measured_in_a_process_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert decompose_llm.main(["--one", "24", "32", "two_sided"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["loss_over_minimum"] == pytest.approx(1, abs=1e-6)


def test_the_shapes_are_those_of_the_published_model() -> None:
    weights = sum(S * C * count for (S, C), count in decompose_llm.LLAMA_2_7B.items())
    assert weights == 6_738_415_616 - 2 * 32_000 * 4096 - (2 * 32 + 1) * 4096
