"""A pre-trained Llama or GPT-2 by its path: a Hugging Face folder, or a GGUF file of a Llama."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.files import read_json, replacing
from ms_eff.models.gguf_file import GGUFModel
from ms_eff.models.gpt2_shape import GPT2Shape
from ms_eff.models.hf_config import special_ids
from ms_eff.models.hf_names import NamedShards
from ms_eff.models.llama_shape import LlamaShape

if TYPE_CHECKING:
    from mindspore import nn
    from tokenizers import Tokenizer

__all__ = [
    "FolderModel",
    "Shape",
    "load_parent",
    "load_tokenizer",
    "open_parent",
    "save_tokenizer",
]

Shape = LlamaShape | GPT2Shape

_TOKENIZER = "tokenizer.json"


class FolderModel:
    """A folder with config.json and safetensors, single or sharded, as Hugging Face saves models.

    Its arrays are told by the names that our network has.

    Attributes:
        special_ids: which tokens begin and end a text, under the config's keys.

    Raises:
        CheckpointError: a file is missing or damaged.
        ConfigError: it is neither a Llama nor a GPT-2, or has parts that are not built here.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        config = read_json(self.path / "config.json", CheckpointError)
        is_gpt2 = isinstance(config, dict) and config.get("model_type") == GPT2Shape.model
        shape: type[Shape] = GPT2Shape if is_gpt2 else LlamaShape
        self.shape: Shape = shape.from_hf(config, self.path / "config.json")
        self.special_ids = special_ids(config)
        self._shards = NamedShards(self.path, self.shape.model)

    def __contains__(self, name: str) -> bool:
        return name in self._shards

    def names(self) -> list[str]:
        """Return the names of all arrays."""
        return self._shards.names()

    def array(self, name: str) -> np.ndarray:
        """Return one array in float32, read now."""
        return self._shards.array(name).astype(np.float32, copy=False)

    def tokenizer(self) -> Tokenizer:
        """Return the folder's tokenizer.json; raises ConfigError where there is none."""
        return load_tokenizer(self.path / _TOKENIZER)


def open_parent(path: str | Path) -> FolderModel | GGUFModel:
    """Return the shape and the arrays of a model on disk, none of them read yet.

    Args:
        path: a folder with config.json and safetensors, or a .gguf file.

    Raises:
        CheckpointError: missing, damaged, or of another kind.
    """
    path = Path(path)
    if path.suffix == ".gguf":
        return GGUFModel(path)
    if path.is_dir():
        return FolderModel(path)
    raise CheckpointError(f"{path}: no model here; a folder with config.json, or a .gguf file")


def load_parent(source: str | Path | FolderModel | GGUFModel) -> nn.Cell:
    """Return the network with its weights; each array replaces its place as it is read.

    Raises:
        CheckpointError: an array is missing, or of another shape.
    """
    import mindspore as ms

    from ms_eff import models
    from ms_eff.models.streamed import unfilled

    parent = open_parent(source) if isinstance(source, (str, Path)) else source
    with unfilled():  # no zeros that the weights would stand beside
        network = models.build(parent.shape.model, **parent.shape.to_args())
    for name, parameter in network.parameters_and_names():
        array = parent.array(name)
        if array.shape != tuple(parameter.shape):
            raise CheckpointError(
                f"{parent.path}: '{name}' is {array.shape}, its config says "
                f"{tuple(parameter.shape)}; config and weights are of two models"
            )
        parameter.set_data(ms.Tensor(array))
    return network.set_train(False)


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Return the tokenizer of a tokenizer.json, of a folder that holds one, or of a GGUF file.

    Raises:
        ConfigError: it is not there, or not one.
    """
    from tokenizers import Tokenizer

    path = Path(path)
    if path.suffix == ".gguf":
        return GGUFModel(path).tokenizer()
    path = path / _TOKENIZER if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(f"{path}: no tokenizer here; name a {_TOKENIZER}")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise ConfigError(f"{path}: not a tokenizer ({error}); name a {_TOKENIZER}") from error
    # a file may ask for both, and long texts would be cut in silence
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer.json into a folder, whole or not at all."""
    with replacing(folder / _TOKENIZER) as temporary:
        temporary.write_text(tokenizer.to_str(), encoding="utf-8")
