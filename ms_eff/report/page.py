"""Results as one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ms_eff.errors import SetupError, UserError
from ms_eff.files import replacing
from ms_eff.report.parts import Part, parts_of

__all__ = ["page_of", "render", "save", "write"]

_TEMPLATE = "page.html"


def render(results: Mapping[str, Any], extra: Sequence[Part] = ()) -> str:
    """Return the report as one HTML page.

    Args:
        results: what `results.json` holds; parts it has nothing for are left out.
        extra: further parts, put after the standard ones.

    Raises:
        DataError: these are no results of a run.
        SetupError: jinja2 or matplotlib is not installed.
    """
    return page_of(_title(results), _subtitle(results), [*parts_of(results), *extra])


def page_of(title: str, subtitle: str, parts: Sequence[Part]) -> str:
    """Return one HTML page of some parts.

    Raises:
        SetupError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise SetupError(
            "jinja2: the report needs it, and it is not installed; `pip install 'ms_eff[report]'`"
        ) from error
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    template = environment.from_string(
        resources.files("ms_eff.report").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    )
    return template.render(title=title, subtitle=subtitle, parts=parts)


def write(results: Mapping[str, Any], path: str | Path, extra: Sequence[Part] = ()) -> Path:
    """Write the report, whole or not at all; return its path.

    Raises:
        DataError: these are no results of a run.
        SetupError: jinja2 or matplotlib is not installed.
        UserError: the file cannot be written there.
    """
    return save(render(results, extra), path)


def save(text: str, path: str | Path) -> Path:
    """Write a page, whole or not at all; return its path.

    Raises:
        UserError: the file cannot be written there.
    """
    path = Path(path)
    with replacing(path, UserError, parents=True) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _title(results: Mapping[str, Any]) -> str:
    config = results.get("config") or {}
    model = config.get("model") or {}
    named = model.get("name") if isinstance(model, Mapping) else model
    methods = ", ".join(results.get("methods") or {})
    return ": ".join(part for part in (str(named or "Results"), methods) if part)


def _subtitle(results: Mapping[str, Any]) -> str:
    environment = results.get("environment") or {}
    versions = environment.get("versions") or {}
    words = [environment.get("device"), environment.get("date")]
    words += [f"{name} {versions[name]}" for name in ("mindspore", "ms_eff") if name in versions]
    return " · ".join(str(word) for word in words if word)
