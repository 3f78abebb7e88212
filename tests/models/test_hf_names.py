"""Names and layouts of Hugging Face's files, to ours and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ms_eff.errors import CheckpointError
from ms_eff.models.hf_names import NamedShards, from_hf, to_hf

RNG = np.random.default_rng(0)
# a block of which one layer is in factors
OURS = {
    name: RNG.standard_normal(shape).astype(np.float32)
    for name, shape in {
        "word.weight": (7, 4),
        "blocks.0.norm1.gamma": (4,),
        "blocks.0.attn.qkv.weight": (12, 4),
        "blocks.0.attn.qkv.bias": (12,),
        "blocks.0.fc1.first.weight": (2, 4),
        "blocks.0.fc1.last.weight": (16, 2),
        "blocks.0.fc1.last.bias": (16,),
    }.items()
}
THEIRS = {
    "transformer.wte.weight": OURS["word.weight"],
    "transformer.h.0.ln_1.weight": OURS["blocks.0.norm1.gamma"],
    "transformer.h.0.attn.c_attn.weight": OURS["blocks.0.attn.qkv.weight"].T,
    "transformer.h.0.attn.c_attn.bias": OURS["blocks.0.attn.qkv.bias"],
    "transformer.h.0.mlp.c_fc.first.weight": OURS["blocks.0.fc1.first.weight"],
    "transformer.h.0.mlp.c_fc.last.weight": OURS["blocks.0.fc1.last.weight"],
    "transformer.h.0.mlp.c_fc.last.bias": OURS["blocks.0.fc1.last.bias"],
}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_gpt2_goes_to_and_fro() -> None:
    same(to_hf(OURS, "gpt2"), THEIRS)
    same(from_hf(THEIRS, "gpt2"), OURS)


def test_a_llama_has_its_names_already() -> None:
    assert to_hf(THEIRS, "llama") == from_hf(THEIRS, "llama") == THEIRS


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_files_of_bare_models_and_early_ones_are_read(prefix: str, tmp_path: Path) -> None:
    arrays = {prefix + n.removeprefix("transformer."): a for n, a in THEIRS.items()}
    unused = {f"{prefix}h.0.attn.bias": np.ones((1, 1, 4, 4), np.float32)}
    unused |= {"lm_head.weight": OURS["word.weight"]}
    everything = {n: np.ascontiguousarray(a) for n, a in (arrays | unused).items()}
    save_file(everything, tmp_path / "model.safetensors")
    found = NamedShards(tmp_path, "gpt2")
    same({name: found.array(name) for name in found.names()}, OURS)
    assert found.array("blocks.0.attn.qkv.weight").flags["C_CONTIGUOUS"]
    assert "word.weight" in found
    assert "transformer.wte.weight" not in found


def test_what_has_no_name_there_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"gpt2: 'blocks\.0\.gate\.weight' has no name"):
        to_hf(OURS | {"blocks.0.gate.weight": np.zeros(1)}, "gpt2")
