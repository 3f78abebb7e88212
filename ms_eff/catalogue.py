"""`ms-eff list`: what can be named in a config, and the configs that come with the project."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from ms_eff.data.keys import DATA_SETS
from ms_eff.methods.progressive.settings import ProgressiveSettings
from ms_eff.methods.registry import METHODS, settings_class
from ms_eff.models.registry import MODELS

__all__ = ["catalogue"]


def catalogue() -> Table:
    """Return models, data sets, methods with their keys, and configs, ready to print."""
    table = Table("kind", "name", "what", box=None, pad_edge=False)
    for name, (_, takes) in MODELS.items():
        table.add_row("model", name, "takes " + ", ".join(takes))
    for name in DATA_SETS:
        table.add_row("data", name, "")
    for name in METHODS:
        kind = settings_class(name)
        table.add_row("method", name, f"{_first_line(kind.__doc__)} Keys: {_keys(kind)}")
    family = f"{_first_line(ProgressiveSettings.__doc__)} Keys: {_keys(ProgressiveSettings)}"
    table.add_row("method", "progressive", family)
    for path in sorted(Path("configs").glob("*/*.yaml")):
        table.add_row("config", str(path), _header(path))
    return table


def _keys(kind: type) -> str:
    return ", ".join(kind.model_fields)  # type: ignore[attr-defined]


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().splitlines()[0] if doc else ""


def _header(path: Path) -> str:
    """Return the comment on a config's first line: what it is."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
