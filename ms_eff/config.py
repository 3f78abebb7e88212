"""A config, validated; every error is one line: file, key, value, nearest known key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from ms_eff.config_file import read_raw
from ms_eff.data.settings import DataSettings
from ms_eff.errors import ConfigError, UserError, nearest
from ms_eff.methods.progressive.settings import FamilyConfig
from ms_eff.methods.registry import METHODS, settings_class
from ms_eff.models.settings import ModelSettings
from ms_eff.runtime import DeviceSettings
from ms_eff.section import Section
from ms_eff.train.settings import TrainSettings

__all__ = [
    "BenchSettings",
    "Config",
    "ExportSettings",
    "load_any",
    "load_config",
    "plain",
]


class BenchSettings(Section):
    """What `ms-eff bench` measures, on inputs of the data's shape.

    Attributes:
        batch_size: inputs per call.
        runs: timed calls per model, interleaved with the other models'.
        train_step: also time a training step (forward, gradients, update).
    """

    batch_size: int = Field(32, ge=1)
    warmup: int = Field(3, ge=1)
    runs: int = Field(20, ge=3)
    train_step: bool = True


class ExportSettings(Section):
    """What `ms-eff export` writes and how closely the file must follow the live model.

    Attributes:
        formats: files to write.
        batch_size: of the exported graph.
        dynamic_batch: export a graph that takes any batch size.
        fold_norms: fold batch normalisations into the layers before them first.
        tolerance: largest difference of the outputs, relative to the largest output if that is
            above 1.
    """

    formats: tuple[str, ...] = ("mindir", "onnx")
    batch_size: int = Field(1, ge=1)
    dynamic_batch: bool = False
    fold_norms: bool = False
    tolerance: float = Field(1e-4, gt=0)

    @field_validator("formats")
    @classmethod
    def _known(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        for name in formats:
            if name not in ("mindir", "onnx"):
                raise ValueError(f"unknown format '{name}'; known: mindir, onnx")
        return formats


class Config(Section):
    """A whole run.

    Attributes:
        output: folder of everything the run writes.
        pretrain: train the dense model first, with these settings (others as in `train`).
        train: training with all methods in place (fine-tuning, if there was a dense model).
        methods: one single-key mapping a method, applied in this order.
    """

    output: Path = Path("runs/default")
    seed: int = Field(0, ge=0, lt=2**32)
    device: DeviceSettings = DeviceSettings()
    model: ModelSettings
    data: DataSettings
    pretrain: TrainSettings | None = None
    train: TrainSettings = TrainSettings()
    methods: tuple[dict[str, Any], ...] = ()
    bench: BenchSettings = BenchSettings()
    export: ExportSettings = ExportSettings()

    @model_validator(mode="after")
    def _cache_has_a_graph(self) -> Self:
        blocks = [block for block in (self.pretrain, self.train) if block]
        if self.device.cache and any(block.sink for block in blocks):
            raise ValueError(
                "device.cache keeps steps that the host starts; with train.sink the device does: "
                "drop one"
            )
        return self

    def method_settings(self) -> list[tuple[str, Section]]:
        """Return (name, validated settings) of each method, in order."""
        return [(n, settings_class(n)(**s)) for entry in self.methods for n, s in entry.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-able values, defaults included."""
        return self.model_dump(mode="json")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `key=value` overrides, check everything.

    A family of language models has a config of its own: see `load_any`.

    Args:
        path: YAML file; its key `base` may name one other file (relative to it) to start from.
        overrides: `a.b=value`, the value in YAML; a method's key is `methods.NAME.key`.

    Raises:
        ConfigError: file, key, value and remedy in one line.
    """
    return plain(load_any(path, overrides), path)


def plain(config: Config | FamilyConfig, path: object) -> Config:
    """Return the config unless it is a family's; raises ConfigError with what takes that."""
    if isinstance(config, Config):
        return config
    raise ConfigError(f"{path}: makes a family of language models; run `ms-eff compress {path}`")


def load_any(path: str | Path, overrides: Sequence[str] = ()) -> Config | FamilyConfig:
    """Read a config of either kind, as `load_config`; which it is, its methods say."""
    raw = read_raw(Path(path), overrides)
    methods = raw.get("methods")
    if isinstance(methods, list) and any(
        isinstance(m, dict) and "progressive" in m for m in methods
    ):
        try:
            return FamilyConfig(**raw)
        except ValidationError as error:
            raise ConfigError(one_line(error, FamilyConfig, str(path), "")) from error
    return _validated(raw, str(path))


def _validated(raw: dict[str, Any], where: str) -> Config:
    if isinstance(raw.get("pretrain"), dict) and isinstance(raw.get("train", {}), dict):
        raw["pretrain"] = {**(raw.get("train") or {}), **raw["pretrain"]}
    try:
        config = Config(**raw)
    except ValidationError as error:
        raise ConfigError(one_line(error, Config, where, "")) from error
    except TypeError as error:
        raise ConfigError(f"{where}: section names must be words: {error}") from error
    for entry in config.methods:
        _check_method(entry, where)
    names = [name for entry in config.methods for name in entry]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: methods: '{name}' stands there twice; keep one")
    return config


def _check_method(entry: dict[str, Any], where: str) -> None:
    if len(entry) != 1:
        raise ConfigError(f"{where}: methods: one method a list item, found {list(entry)}")
    ((name, settings),) = entry.items()
    if name not in METHODS:
        hint = f"{nearest(str(name), METHODS)}; known: {', '.join(METHODS)}"
        raise ConfigError(f"{where}: methods: unknown method '{name}'{hint}")
    kind = settings_class(name)
    try:
        kind(**(settings or {}))
    except ValidationError as error:
        raise ConfigError(one_line(error, kind, where, f"methods.{name}.")) from error
    except UserError as error:
        raise ConfigError(f"{where}: methods.{name}: {error}") from error
    except TypeError as error:
        raise ConfigError(f"{where}: methods.{name}: a mapping of settings is expected") from error


def one_line(error: ValidationError, model: type[BaseModel], where: str, prefix: str) -> str:
    """Return the first thing wrong with a section's values, with the nearest known key.

    Args:
        error: what building the section raised.
        model: the section's class.
        where: file or block that the values are from.
        prefix: put before the key.
    """
    found = error.errors()
    if wrong := {e["loc"][1:] for e in found if e["loc"][:1] == ("train",)}:
        # what `pretrain` inherits is wrong twice; the user wrote it in `train`
        found = [e for e in found if e["loc"][:1] != ("pretrain",) or e["loc"][1:] not in wrong]
    # a misspelt key is also missing: its own name says more
    first = min(found, key=lambda e: e["type"] != "extra_forbidden")
    location = [str(part) for part in first["loc"]]
    key = prefix + ".".join(location)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _fields(model, location[:-1])
        hint = nearest(location[-1], known) or f"; known: {', '.join(known)}"
        return f"{where}: unknown key '{key}'{hint}{more}"
    if first["type"] == "missing":
        return f"{where}: key '{key}' is missing{more}"
    reason = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    if isinstance(first["input"], dict):  # a whole section is at fault; the reason names the key
        return f"{where}: {key.rstrip('.')}: {reason}{more}"
    return f"{where}: {key} = {first['input']!r}: {reason}{more}"


def _fields(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    for part in location:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        inner = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)
