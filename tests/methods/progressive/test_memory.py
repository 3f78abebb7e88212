"""What making or loading a member takes: the member, not two of it, nor the parent besides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# a process of its own: what others freed would hide what is taken
SCRIPT = """
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ms_eff.methods.progressive.core import block_shapes, family_plan, uniform_ranks
from ms_eff.methods.progressive.members import assembled, build_member, description, load_member
from ms_eff.models.hf_names import to_hf
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.train import checkpoint

SHAPE = LlamaShape(4000, 512, 10, 8, 4, 1536, tied=True, context=16)
MATRICES = block_shapes(SHAPE)
RANKS = uniform_ranks(MATRICES, 1.25)


class Parent:
    def names(self):
        norms = [f"model.layers.{i}.{n}_layernorm.weight" for i in range(10)
                 for n in ("input", "post_attention")]
        return ["model.embed_tokens.weight", "model.norm.weight", *norms,
                *(f"{name}.weight" for name in MATRICES)]

    def array(self, name):
        shape = (4000, 512) if "embed" in name else (512,)
        return np.full(shape, 0.5, np.float32)


class Pairs(Mapping):
    def __getitem__(self, name):
        (S, C), R = MATRICES[name], RANKS[name]
        return np.full((R, C), 0.5, np.float32), np.full((S, R), 0.5, np.float32)

    def __iter__(self):
        return iter(MATRICES)

    def __len__(self):
        return len(MATRICES)


def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def taken(work):
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = status("VmRSS")
    network = work()
    return network, status("VmHWM") - before


plan = family_plan(MATRICES, RANKS, {})
made, first = taken(lambda: build_member(SHAPE, plan, assembled(Parent(), Pairs())))
weights = {p.name: p.asnumpy() for p in made.get_parameters()}
size = sum(array.nbytes for array in weights.values())
folder = Path(sys.argv[1]) / "member"
_, second = taken(
    lambda: checkpoint.save(folder, to_hf(weights, "llama"), description(SHAPE, plan))
)
loaded, third = taken(lambda: load_member(folder))
for parameter in loaded.get_parameters():
    np.testing.assert_array_equal(parameter.asnumpy(), weights[parameter.name])
print(size, first, second, third)
"""


@pytest.mark.gate
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_is_one_member(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    size, made, saved, loaded = map(int, done.stdout.split())
    assert size > 50e6
    assert made < 1.3 * size, made / size
    assert saved < 0.3 * size, saved / size
    assert loaded < 1.3 * size, loaded / size
