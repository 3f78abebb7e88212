"""What the `ms_eff:` block of a MindFormers config asks for, done to the model that it describes.

`import ms_eff.mindformers` lets MindFormers' Trainer read the block; here is what it then does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import nn
from pydantic import ValidationError, field_validator

from ms_eff.config import one_line
from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.methods.lowrank.freezing import frozen_factors
from ms_eff.methods.lowrank.rebuilding import rebuild
from ms_eff.methods.lowrank.settings import FreezeSettings
from ms_eff.methods.progressive.members import description, read_plan, read_state
from ms_eff.models.formats import read_arrays
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.models.mindformers_llama import mindformers_name, mindformers_plan
from ms_eff.models.mindformers_parallel import share_factors
from ms_eff.models.shards import Shards
from ms_eff.models.streamed import fill
from ms_eff.parallel import ParallelSettings
from ms_eff.section import Section
from ms_eff.train import checkpoint

__all__ = ["MindFormersSettings", "compressed", "read_block", "write_back"]

_TEXTS = ("config.json", "plan.json", "tokenizer.json")


class MindFormersSettings(Section):
    """The `ms_eff:` block of a MindFormers config.

    Attributes:
        plan: folder of a family's member (`ms-eff compress`): which layers are factors, of which
            ranks, and the weights that training begins with. Where the config loads a checkpoint,
            the weights are that one's, and it has to hold factors.
        freeze: `static`, or `{kind: static, start: outer | inner}`: `first` (outer) or `last`
            (inner) of every pair keeps its weights (arXiv:2407.20266); no gradient is computed and
            no moment kept of it.
    """

    plan: Path
    freeze: FreezeSettings | None = None

    @field_validator("freeze", mode="before")
    @classmethod
    def _by_name(cls, freeze: Any) -> Any:
        return {"kind": freeze} if isinstance(freeze, str) else freeze

    @field_validator("freeze")
    @classmethod
    def _for_good(cls, freeze: FreezeSettings | None) -> FreezeSettings | None:
        if freeze is not None and freeze.kind == "sequential":
            raise ValueError(
                "MindFormers compiles one step for one set of weights; use static, and change "
                "start between two runs"
            )
        return freeze


def read_block(values: Mapping[str, Any] | None) -> MindFormersSettings | None:
    """Return the settings of an `ms_eff:` block, None where there is none.

    Raises:
        ConfigError: the first thing wrong with it, in one line.

    >>> read_block({"plam": "members/1.25"})
    Traceback (most recent call last):
    ms_eff.errors.ConfigError: ms_eff: unknown key 'plam' (did you mean 'plan'?) (and 1 more)
    >>> read_block({"plan": "members/1.25", "freeze": "static"}).freeze.start
    'outer'
    """
    if not values:
        return None
    try:
        return MindFormersSettings(**values)
    except ValidationError as error:
        raise ConfigError(one_line(error, MindFormersSettings, "ms_eff", "")) from error
    except TypeError as error:
        raise ConfigError("ms_eff: a mapping with the key plan is expected") from error


def compressed(
    network: nn.Cell,
    settings: MindFormersSettings,
    mesh: ParallelSettings | None = None,
    load: bool = True,
) -> nn.Cell:
    """Return a copy of MindFormers' Llama with the layers of a member in factors.

    Args:
        network: `LlamaForCausalLM`, of the member's shape.
        settings: the block.
        mesh: devices that share it, to lay the factors out on; None where nothing is shared.
        load: put the member's weights in; otherwise factors are zeros, to be loaded by MindFormers.

    Raises:
        CheckpointError: no member, a damaged one, or none of a Llama.
        ConfigError: the network is of another shape than the member.
        PlanError: it lacks a layer of the plan (with `qkv_concat: True`, wq, wk and wv are one).
    """
    _check_shape(network, settings.plan)
    network = rebuild(network, mindformers_plan(read_plan(settings.plan)))
    if mesh is not None:
        share_factors(network, mesh)
    if load:
        checkpoint.verified(settings.plan)
        # array by array: every device's process holds the whole of it once, not twice
        fill(network, _Renamed(settings.plan / "model.safetensors"), settings.plan)
    if settings.freeze is not None:
        for weight in frozen_factors(network, settings.freeze.start):
            weight.requires_grad = False
    return network


def write_back(trained: str | Path, member: str | Path, folder: str | Path) -> Path:
    """Write what MindFormers trained as a member again, for `ms_eff.load_language_model`.

    Args:
        trained: its checkpoint, whole: .safetensors or .ckpt, or the folder of safetensors that
            `mindspore.unified_safetensors` makes of what several devices wrote; optimiser states
            are left.
        member: folder of the member that the training began with.
        folder: of the new member.

    Raises:
        CheckpointError: an array is missing or of another shape, or a file cannot be used.
    """
    member = Path(member)
    state, shards = checkpoint.verified(member), Shards(member)
    arrays = _whole(Path(trained))
    weights = {}
    for name in shards.names():
        array, shape = arrays(mindformers_name(name)), shards.shape(name)
        if array is None or array.shape != shape:
            what = "is missing" if array is None else f"is {array.shape}, not {shape}"
            raise CheckpointError(
                f"{trained}: '{mindformers_name(name)}' {what}; name the member that was trained, "
                "and a checkpoint that is not in pieces"
            )
        weights[name] = array
    files = (member / name for name in _TEXTS)
    texts = {file.name: file.read_text(encoding="utf-8") for file in files if file.is_file()}
    described = description(LlamaShape(**state["model"]["args"]), read_plan(member))
    return checkpoint.save(Path(folder), weights, described, texts=texts)


class _Renamed:
    """A member's arrays under MindFormers' names."""

    def __init__(self, file: Path) -> None:
        self._shards = Shards(file)
        self._names = {mindformers_name(name): name for name in self._shards.names()}

    def names(self) -> list[str]:
        """Return MindFormers' names of all arrays."""
        return list(self._names)

    def array(self, name: str) -> np.ndarray:
        """Return one array, read now."""
        return self._shards.array(self._names[name])


def _whole(path: Path) -> Callable[[str], np.ndarray | None]:
    """Return what gives a checkpoint's arrays by name; None for one that is not there."""
    if not path.is_dir():
        return read_arrays(path).get
    parts = [Shards(file) for file in sorted(path.glob("*.safetensors"))]
    if not parts:
        raise CheckpointError(f"{path}: no .safetensors here; name what unified_safetensors made")
    places = {name: part for part in parts for name in part.names()}
    return lambda name: places[name].array(name) if name in places else None


def _check_shape(network: nn.Cell, member: Path) -> None:
    """Compare all numbers; two of them, no array's shape would tell."""
    from mindformers import LlamaForCausalLM

    if not isinstance(network, LlamaForCausalLM):
        raise ConfigError(
            f"ms_eff: the config builds a {type(network).__name__}; members go into "
            "LlamaForCausalLM, without pet_config"
        )
    model = read_state(member)["model"]
    if model["name"] != "llama":
        raise CheckpointError(
            f"{member}: a member of {model['name']}; MindFormers' LlamaForCausalLM is made of "
            "Llama-like ones"
        )
    shape, config = LlamaShape(**model["args"]), network.config
    wanted = {
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.dim,
        "num_layers": shape.depth,
        "num_heads": shape.heads,
        "n_kv_heads": shape.kv_heads,
        "intermediate_size": shape.hidden,
        "rms_norm_eps": shape.norm_eps,
        "theta": shape.rope_base,
        "tie_word_embeddings": shape.tied,
        "qkv_has_bias": shape.attention_bias,
        "attn_proj_has_bias": shape.attention_bias,
        "extend_method": "None",  # their word for rotary positions that are not scaled
        "scaling_factor": 1.0,
    }
    for key, value in wanted.items():
        held = getattr(config, key, None)
        if held is None and key == "n_kv_heads":  # every head has its own
            held = config.num_heads
        if held != value:
            raise ConfigError(
                f"model.model_config.{key} = {held}: the member {member} has {value}; set that"
            )
