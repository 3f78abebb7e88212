"""A family whose parent is a GPT-2: other names, transposed matrices, q, k and v in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor, nn
from rich.console import Console

import ms_eff
from ms_eff.data.language import windows
from ms_eff.errors import ConfigError
from ms_eff.methods.progressive.core import uniform_ranks
from ms_eff.methods.progressive.family import Family
from ms_eff.methods.progressive.members import load_member, read_plan, write_merged
from ms_eff.methods.progressive.truncate import Whitening, decompose
from ms_eff.models.decoding import Decoder
from ms_eff.models.shards import Shards
from ms_eff.parallel import ParallelSettings
from tests.methods.progressive.conftest import family_config
from tests.models.llamas import logits_of, some_ids
from tests.tolerances import FP32

QUIET = Console(quiet=True)
BLOCK = "transformer.h.0"
NAMES = {
    "attn.qkv": "attn.c_attn",
    "attn.proj": "attn.c_proj",
    "fc1": "mlp.c_fc",
    "fc2": "mlp.c_proj",
}


def made(parent: Path, output: Path, **method: Any) -> Family:
    family = Family(family_config(parent, output, method=method), console=QUIET)
    family.rows = family.run()
    return family


@pytest.fixture(scope="module")
def family(gpt2_parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return made(gpt2_parent, tmp_path_factory.mktemp("family"), ratios=[2.0])


def test_a_member_has_the_parameters_of_the_formula(family: Family) -> None:
    (row,) = family.rows
    plan, network = read_plan(family.folder.of(0)), load_member(family.folder.of(0))
    dense = 12 * 24 * 24
    saved = sum(e.rank[0] * sum(e.shape) - np.prod(e.shape) for e in plan.layers)
    assert row["block_params"] == dense + saved <= dense / 2
    assert row["params"] == sum(p.size for p in network.get_parameters())


def test_files_have_the_names_and_layouts_of_hugging_face(
    family: Family, gpt2_parent: Path
) -> None:
    parent, member = Shards(gpt2_parent), Shards(family.folder.of(0))
    ranks = {entry.name: entry.rank[0] for entry in read_plan(family.folder.of(0)).layers}
    assert ranks
    expected = set(parent.names())
    for ours, theirs in NAMES.items():
        name, rank = f"{BLOCK}.{theirs}", ranks.get(f"blocks.0.{ours}")
        C, S = parent.shape(f"{name}.weight")
        if rank:
            assert member.shape(f"{name}.first.weight") == (rank, C)
            assert member.shape(f"{name}.last.weight") == (S, rank)
            expected -= {f"{name}.weight", f"{name}.bias"}
            expected |= {f"{name}.{p}" for p in ("first.weight", "last.weight", "last.bias")}
        else:
            np.testing.assert_array_equal(
                member.array(f"{name}.weight"), parent.array(f"{name}.weight")
            )
    assert set(member.names()) == expected


@pytest.mark.gate
def test_a_merged_member_is_a_model_that_transformers_reads(family: Family, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    merged = write_merged(family.folder.of(0), tmp_path)
    reference = transformers.GPT2LMHeadModel.from_pretrained(merged).eval()
    member, ids = load_member(family.folder.of(0)), some_ids()
    found = member(Tensor(ids)).asnumpy()
    np.testing.assert_allclose(found, logits_of(reference, ids), atol=FP32, rtol=FP32)
    # what the run said of it
    rows = torch.tensor(windows(family.judge.ids, 16, 160)).long()
    with torch.no_grad():
        logits = reference(rows[:, :-1]).logits.reshape(-1, 64)
    loss = torch.nn.functional.cross_entropy(logits, rows[:, 1:].reshape(-1)).item()
    assert family.rows[0]["perplexity"] == pytest.approx(np.exp(loss), rel=1e-4)
    # by any of the names under which models are loaded; whole again, it is a parent
    again = ms_eff.load(family.folder.of(0))
    for one, other in zip(member.get_parameters(), again.get_parameters(), strict=True):
        np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())
    assert isinstance(load_member(merged).blocks[0].fc1, nn.Dense)


@pytest.mark.parametrize("criterion", ["weight", "activation", "two_sided"])
def test_factors_lose_the_least_that_their_rule_counts(
    criterion: str, family: Family, gpt2_parent: Path, tmp_path: Path
) -> None:
    """Against the tail of the spectrum of G^(1/2) W F^(1/2), roots and SVD by NumPy."""
    whitening = Whitening(criterion, family.truncator.statistics())
    factors = decompose(family.parent, family.shapes, whitening, tmp_path)
    ranks = uniform_ranks(family.shapes, 2.0)
    assert list(ranks.values()) == [9, 6, 9, 9]  # floor(C S / (2 (C + S)))
    for ours, theirs in NAMES.items():
        rank = ranks[f"blocks.0.{ours}"]
        W = Shards(gpt2_parent).array(f"{BLOCK}.{theirs}.weight").astype(np.float64)  # (C, S)
        first, last = factors.pair(f"blocks.0.{ours}", rank)
        missed = W - (last.astype(np.float64) @ first).T
        moments = family.truncator.statistics()[f"blocks.0.{ours}"]
        left = np.eye(len(W)) if criterion == "weight" else half(moments.inputs)
        F = moments.gradients
        F = F + 0.1 * np.trace(F) / len(F) * np.eye(len(F))
        right = half(F) if criterion == "two_sided" else np.eye(W.shape[1])
        least = (np.linalg.svd(left @ W @ right, compute_uv=False)[rank:] ** 2).sum()
        assert ((left @ missed @ right) ** 2).sum() == pytest.approx(least, rel=1e-3), ours


def half(matrix: np.ndarray) -> np.ndarray:
    """Return the symmetric root."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


@pytest.mark.slow  # two more graphs
def test_a_member_decodes_with_a_cache(family: Family) -> None:
    network, prompt = load_member(family.folder.of(0)), [3, 1, 2]
    new = Decoder(network, length=9).generate(prompt, 6)
    whole = network(Tensor(np.array([prompt + new], np.int32))).asnumpy()[0]
    assert new == whole.argmax(-1)[2:-1].tolist()


@pytest.mark.slow  # two compiled trainings
def test_training_goes_on_from_the_trained_factors(gpt2_parent: Path, tmp_path: Path) -> None:
    method = {"ratios": [1.25, 2.0], "tokens": 64, "step": "w1_only"}
    family = made(gpt2_parent, tmp_path, **method, allocation="uniform", rule="plain")
    assert [row["trained_tokens"] for row in family.rows] == [64, 128]
    one, start = Shards(family.folder.of(0)), Shards(family.folder.of(1, "steps"))
    before = Shards(family.folder.of(0, "steps"))
    name = f"{BLOCK}.mlp.c_fc"
    W1 = one.array(f"{name}.last.weight").astype(np.float64)
    assert not np.array_equal(before.array(f"{name}.last.weight"), W1)  # it was trained
    U, sigma, V = np.linalg.svd(W1, full_matrices=False)
    rank = start.shape(f"{name}.first.weight")[0]
    expected = (U[:, :rank] * sigma[:rank]) @ V[:rank] @ one.array(f"{name}.first.weight")
    found = start.array(f"{name}.last.weight") @ start.array(f"{name}.first.weight")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert rank < W1.shape[1]


def test_what_a_gpt2_cannot_have_is_refused(gpt2_parent: Path, tmp_path: Path) -> None:
    config = family_config(gpt2_parent, tmp_path, recovery={"block": 33})
    with pytest.raises(ConfigError, match=r"recovery\.block: .* 33 tokens .* has 32 positions"):
        Family(config, console=QUIET)
    mesh = {"parallel": ParallelSettings(data=2)}
    config = family_config(gpt2_parent, tmp_path / "mesh").model_copy(update=mesh)
    with pytest.raises(ConfigError, match=r"parallel: .* is a gpt2; drop parallel"):
        Family(config, console=QUIET)
