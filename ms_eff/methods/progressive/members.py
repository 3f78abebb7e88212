"""A member of a family on disk: a checkpoint that is a Hugging Face folder as well.

`model.safetensors` holds Hugging Face's names, a decomposed layer as two linears `<layer>.first`
(R, C) and `<layer>.last` (S, R); `config.json`, `plan.json` and `tokenizer.json` say the rest. In
memory, arrays have our networks' names: a Llama's are the same, GPT-2's are not.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ms_eff.errors import CheckpointError
from ms_eff.files import read_json
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.models.formats import write_arrays
from ms_eff.models.hf_names import NamedShards, to_hf
from ms_eff.models.parents import Shape, load_parent

if TYPE_CHECKING:
    from mindspore import nn

    from ms_eff.models.streamed import Arrays

__all__ = [
    "Products",
    "assembled",
    "build_member",
    "description",
    "load_member",
    "member_texts",
    "read_plan",
    "read_state",
    "write_merged",
]

_STATE, _WEIGHTS = "state.json", "model.safetensors"
_FACTORS = ("first", "last")

Pair = tuple[np.ndarray, np.ndarray]


class _Assembled:
    """See `assembled`."""

    def __init__(self, source: Arrays, pairs: Mapping[str, Pair]) -> None:
        self._source, self._pairs = source, pairs
        self._last: tuple[str, Pair] | None = None
        # our name -> the source's, or a layer and which of its factors
        self._places: dict[str, str | tuple[str, int]] = {}
        for name in source.names():
            layer, _, part = name.rpartition(".")
            if layer not in pairs:
                self._places[name] = name
            elif part == "weight":
                self._places |= {f"{layer}.{n}.weight": (layer, i) for i, n in enumerate(_FACTORS)}
            else:  # a bias is the second factor's
                self._places[f"{layer}.last.{part}"] = name

    def names(self) -> list[str]:
        """Return the names of all arrays."""
        return list(self._places)

    def array(self, name: str) -> np.ndarray:
        """Return one array in float32."""
        place = self._places[name]
        if isinstance(place, str):
            return self._source.array(place).astype(np.float32, copy=False)
        layer, which = place
        if self._last is None or self._last[0] != layer:  # they are asked for one after the other
            self._last = layer, self._pairs[layer]
        return self._last[1][which]


def assembled(source: Arrays, pairs: Mapping[str, Pair]) -> Arrays:
    """Return a model's arrays with pairs of factors in the place of matrices, none of them held.

    Args:
        source: the model.
        pairs: `first` and `last` by layer; matrices of other layers stay, in float32.
    """
    return _Assembled(source, pairs)


def build_member(shape: Shape, plan: LowRankPlan, arrays: Arrays) -> nn.Cell:
    """Return the network of a plan, filled array by array.

    Memory: the member, of a Llama; a GPT-2 draws its initial weights first, so the parent besides.

    Raises:
        CheckpointError: the arrays do not fit.
    """
    from ms_eff import models
    from ms_eff.methods.lowrank.rebuilding import rebuild
    from ms_eff.models.streamed import fill, unfilled

    with unfilled():
        network = rebuild(models.build(shape.model, **shape.to_args()), plan)
    return fill(network, arrays, "the member").set_train(False)


def description(shape: Shape, plan: LowRankPlan) -> dict[str, Any]:
    """Return what a checkpoint says of a member, so that `ms_eff.load` can build it."""
    return {
        "model": {"name": shape.model, "args": shape.to_args()},
        "naming": "hf",
        "plans": [{"method": "lowrank", "plan": plan.to_json()}],
    }


def member_texts(
    shape: Shape, plan: LowRankPlan, tokenizer: str | None, special_ids: Mapping[str, Any]
) -> dict[str, str]:
    """Return the files beside the weights, by name.

    Args:
        shape: of the parent.
        plan: of the member.
        tokenizer: content of its tokenizer.json.
        special_ids: of the parent's config, without which whoever generates would never stop.
    """
    texts = {
        "config.json": json.dumps({**shape.to_hf(), **special_ids}, indent=1),
        "plan.json": json.dumps(plan.to_json(), indent=1),
    }
    return texts | ({"tokenizer.json": tokenizer} if tokenizer else {})


def load_member(path: str | Path) -> nn.Cell:
    """Return a language model by its path: a member, a Hugging Face folder, or a GGUF file.

    A folder may hold a Llama or a GPT-2; a checkpoint of `ms-eff train` is taken as well.

    Raises:
        CheckpointError: missing, damaged, or of another kind.

    Example:
        `network = ms_eff.load_language_model("runs/smollm2/members/1.25")`
    """
    from ms_eff.models.streamed import fill, unfilled
    from ms_eff.train import checkpoint

    path = Path(path)
    if not (path / _STATE).is_file():
        return load_parent(path)
    state = checkpoint.verified(path)
    if state.get("naming") != "hf":
        return checkpoint.rebuild(path).set_train(False)
    with unfilled():
        network = checkpoint.built(state, path)
    # array by array: what was verified is not held beside the network
    return fill(network, NamedShards(path / _WEIGHTS, state["model"]["name"]), path).set_train(
        False
    )


def read_plan(path: str | Path) -> LowRankPlan:
    """Return a member's plan; raises CheckpointError where it is none."""
    return LowRankPlan.from_json(read_state(path)["plans"][0]["plan"])


def read_state(path: str | Path) -> dict[str, Any]:
    """Return what a member says of itself; raises CheckpointError where it is none."""
    state = read_json(Path(path) / _STATE, CheckpointError)
    if not isinstance(state, dict) or not state.get("plans") or not state.get("model"):
        raise CheckpointError(f"{path}: no member of a family; it has no plan")
    return state


def write_merged(member: str | Path, folder: str | Path) -> Path:
    """Write a member as an ordinary Hugging Face model, each pair of factors multiplied out.

    It has the parent's size and the member's outputs, for tools that know no factors.

    Args:
        member: folder of a family member.
        folder: made if it is missing.

    Raises:
        CheckpointError: the member is damaged, or the folder cannot be written.
    """
    member, folder = Path(member), Path(folder)
    model = read_state(member)["model"]["name"]
    source = Products(member)
    arrays = {name: source.array(name).astype(np.float32) for name in source.names()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "tokenizer.json"):
            if (member / name).is_file():
                shutil.copyfile(member / name, folder / name)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written: {error.strerror}") from error
    write_arrays(folder / _WEIGHTS, to_hf(arrays, model))
    return folder


class Products:
    """The matrices of a member, each pair of factors multiplied out as it is asked for."""

    def __init__(self, member: Path) -> None:
        self.path = member
        self._shards = NamedShards(member, read_state(member)["model"]["name"])

    def array(self, name: str) -> np.ndarray:
        """Return `<layer>.weight` (S, C), or any other array as it is."""
        layer, _, part = name.rpartition(".")
        for held in (name, f"{layer}.last.{part}" if part == "bias" else name):
            if held in self._shards:
                return self._shards.array(held)
        first, last = self.pair(name.removesuffix(".weight"))
        return last.astype(np.float64) @ first.astype(np.float64)

    def names(self) -> list[str]:
        """Return the names of the model that is multiplied out."""
        firsts = ".first.weight"
        names = (n.replace(firsts, ".weight") for n in self._shards.names() if ".last.w" not in n)
        return [name.replace(".last.bias", ".bias") for name in names]

    def pair(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Return `first` (R, C) and `last` (S, R) of a decomposed layer."""
        return (
            self._shards.array(f"{layer}.first.weight"),
            self._shards.array(f"{layer}.last.weight"),
        )
