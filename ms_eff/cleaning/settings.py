"""What is dropped, and the names of the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator

from ms_eff.errors import ConfigError, nearest
from ms_eff.section import Section, first_mistake

__all__ = ["REASONS", "CleaningSettings", "make_settings"]

REASONS = ("too_long", "invalid_utf8", "html", "short", "symbols", "duplicate")
"""Why a line may go, in the order they are asked: a line goes for the first that holds."""


class CleaningSettings(Section):
    """What to drop from a text of one sample a line (arXiv:2110.08460).

    The paper names the four rules and the 10 %; all else is ours. What is no UTF-8 always goes.

    Attributes:
        max_line: longest line in bytes, without its newline. It bounds the memory of a run.
        html: drop lines in which an HTML parser finds a tag, opening or closing.
        allowed_tags: names of tags that are none, such as WikiText's `unk`.
        min_words: drop lines of fewer words, parts between whitespace; 0 keeps all.
        max_symbols: drop lines in which more than this share of the characters, whitespace not
            counted, is neither letter nor digit of any script; 1 keeps all.
        duplicates: drop lines whose key an earlier line had that was kept: the length of the line
            without its symbols, and its first four and last four words.

    >>> CleaningSettings().min_words
    5
    """

    max_line: int = Field(2**20, ge=1, le=2**26)
    html: bool = True
    allowed_tags: tuple[str, ...] = ()
    min_words: int = Field(5, ge=0)
    max_symbols: float = Field(0.1, ge=0, le=1)
    duplicates: bool = True

    @field_validator("allowed_tags")
    @classmethod
    def _names(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        for tag in tags:
            if not tag[:1].isascii() or not tag[:1].isalpha() or set(tag) & set(" \t\r\n\f/<>\0"):
                raise ValueError(f"'{tag}' is no name of a tag; give it without < and >, as in unk")
        return tuple(sorted({tag.lower() for tag in tags}))


def make_settings(given: Mapping[str, Any]) -> CleaningSettings:
    """Return validated settings from keyword arguments.

    Raises:
        ConfigError: the argument, its value and the remedy, in one line.

    >>> make_settings({"min_word": 3})
    Traceback (most recent call last):
    ms_eff.errors.ConfigError: clean: unknown setting 'min_word' (did you mean 'min_words'?)
    """
    for name in given:
        if name not in CleaningSettings.model_fields:
            hint = nearest(name, CleaningSettings.model_fields)
            raise ConfigError(f"clean: unknown setting '{name}'{hint}")
    try:
        return CleaningSettings(**given)
    except ValidationError as error:
        raise ConfigError(f"clean: {first_mistake(error)}") from error
