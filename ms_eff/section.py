"""The base class of every block of settings in a config."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["Section", "first_mistake"]


class Section(BaseModel):
    """A block of settings: unknown keys are refused, values are checked once, then frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def first_mistake(error: ValidationError) -> str:
    """Return the first thing wrong with a block's values, as `key = value: reason`.

    >>> class Block(Section):
    ...     size: int
    >>> try:
    ...     Block(size="many")
    ... except ValidationError as error:
    ...     first_mistake(error)
    "size = 'many': it should be a valid integer, unable to parse string as an integer"
    """
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    return f"{key} = {first['input']!r}: {reason}" if key else reason
