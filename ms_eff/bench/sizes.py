"""Named sizes of an experiment with single values changed; imports no MindSpore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from ms_eff.errors import ConfigError
from ms_eff.section import Section

__all__ = ["with_changes"]

S = TypeVar("S", bound=Section)


def with_changes(size: S, changes: Mapping[str, Any]) -> S:
    """Return a size with changes, checked; None leaves a value as it is.

    Raises:
        ConfigError: the setting, its value and the remedy, in one line.
    """
    said = {key: value for key, value in changes.items() if value is not None}
    try:
        return type(size)(**{**dict(size), **said})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
        raise ConfigError(f"{key} = {first['input']!r}: {reason}") from error
