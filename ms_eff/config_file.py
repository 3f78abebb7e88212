"""YAML files and `key=value` overrides to the mapping that a config is made of, unchecked."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ms_eff.errors import ConfigError, nearest

__all__ = ["read_raw", "wished_output"]


def read_raw(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Return what a config file and its base file say, with the overrides in place.

    Args:
        path: YAML file; its key `base` may name one other file (relative to it) to start from.
        overrides: `a.b=value`, the value in YAML; a method's key is `methods.NAME.key`.

    Raises:
        ConfigError: a file cannot be read, or is no mapping; an override is none.
    """
    raw = _read(path)
    if "base" in raw:
        base_path = path.parent / str(raw.pop("base"))
        base = _read(base_path)
        if "base" in base:
            raise ConfigError(f"{base_path}: 'base' inside a base file; one level only")
        raw = _merge(base, raw)
    for override in overrides:
        _override(raw, override)
    return raw


def wished_output(path: str | Path, overrides: Sequence[str] = ()) -> Path | None:
    """Return the output folder of a config, whatever else in it is wrong; None: it names none."""
    raw: dict[str, Any] = {}
    with contextlib.suppress(ConfigError):
        raw = read_raw(Path(path), ())
    for override in overrides:
        if override.startswith("output="):
            with contextlib.suppress(ConfigError):
                _override(raw, override)
    found = raw.get("output")
    return Path(found) if isinstance(found, str) and found else None


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        near = nearest(path.name, [p.name for p in path.parent.glob("*.yaml")])
        raise ConfigError(f"{path}: cannot be read: {reason}{near}") from error
    raw = _parse(text, str(path))
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a mapping of sections is expected, found {type(raw).__name__}")
    return raw


class _Loader(yaml.SafeLoader):
    """YAML without its two traps: `1e-3` is a number here, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"key '{key}' stands twice in the mapping at line {line}")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    "-+0123456789",
)


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: builds plain values only
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override '{override}': expected key=value, as in train.epochs=3")
    *parents, last = key.split(".")
    here: dict[str, Any] = raw
    for i, part in enumerate(parents):
        if i == 1 and parents[0] == "methods":
            here = _method_entry(raw["methods"], part)
        empty: Any = [] if (i, part) == (0, "methods") else {}
        if here.get(part) is None:
            here[part] = empty
        if not isinstance(here[part], type(empty)):
            raise ConfigError(f"override '{override}': '{part}' holds a value, not a section")
        here = here[part]
    if parents == ["methods"]:
        here = _method_entry(raw["methods"], last)
    here[last] = _parse(text, f"override '{override}'")


def _method_entry(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the list's item for that method, adding one if it is not there."""
    for entry in entries:
        if name in entry:
            return entry
    entries.append({name: {}})
    return entries[-1]
