"""Reading a Hugging Face config.json: whatever is wrong with it is one line for the user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ms_eff.errors import ConfigError

__all__ = ["readable", "require_mapping", "special_ids"]

_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")


def require_mapping(config: Any, where: object) -> Mapping[str, Any]:
    """Return a config; raises ConfigError where the file holds something else.

    >>> require_mapping([1], "config.json")
    Traceback (most recent call last):
    ms_eff.errors.ConfigError: config.json: holds a list; name a model's config.json
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"{where}: holds a {type(config).__name__}; name a model's config.json")
    return config


@contextmanager
def readable(where: object) -> Iterator[None]:
    """Turn what numbers of a wrong kind lead to into a ConfigError."""
    try:
        yield
    except ConfigError as error:
        said = str(error).startswith(str(where))
        raise ConfigError(str(error) if said else f"{where}: {error}") from error
    except KeyError as error:
        raise ConfigError(f"{where}: key {error} is missing; is it a whole config?") from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(
            f"{where}: a number of the model is of another kind ({error}); mend it, or fetch it "
            "again"
        ) from error


def special_ids(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return which tokens begin and end a text, as far as a config says so.

    >>> special_ids({"eos_token_id": [2, 3], "vocab_size": 9})
    {'eos_token_id': [2, 3]}
    """
    return {key: config[key] for key in _SPECIAL if config.get(key) is not None}
