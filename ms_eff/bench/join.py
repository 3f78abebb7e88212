"""One file of rows from several of one experiment, as of seeds that ran side by side.

python -m ms_eff.bench.join results/NAME.json runs/seed1.json runs/seed2.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ms_eff.bench.rows import Kind, Rows, read_rows
from ms_eff.errors import ConfigError, UserError
from ms_eff.files import read_json

__all__ = ["join", "main"]


def join(output: Path, paths: Sequence[Path]) -> int:
    """Write the rows of all files into one and return how many there are.

    Args:
        output: the new file.
        paths: of one experiment; each keeps the calls that measured its rows.

    Raises:
        ConfigError: `output` exists, or a file is missing, of another experiment or of other
            settings, or has a row that another has.
        SetupError: the file cannot be written.
    """
    if output.exists():
        raise ConfigError(f"{output}: exists; name a new file")
    kind = _kind(paths[0])
    rows = Rows(output, kind, read_rows(paths[0], kind)["settings"])
    for path in paths:
        rows.join(path)
    rows.save()
    return len(rows.rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Join the files; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m ms_eff.bench.join", description=__doc__)
    parser.add_argument("output", type=Path, help="the new file")
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE", help="rows to join")
    options = parser.parse_args(arguments)
    try:
        count = join(options.output, options.paths)
    except UserError as error:
        print(f"join: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: {count} rows")
    return 0


def _kind(path: Path) -> Kind:
    """Return the experiment that wrote a file, which says so itself."""
    found = read_json(path, ConfigError)
    name = str(found.get("format", "") if isinstance(found, dict) else "")
    own = name.removeprefix("ms_eff.").removesuffix("/1")
    if own.isidentifier() and (Path(__file__).parent / f"{own}.py").is_file():
        kind = getattr(import_module(f"ms_eff.bench.{own}"), "KIND", None)
        if isinstance(kind, Kind):
            return kind
    raise ConfigError(f"{path}: not rows of an experiment in ms_eff.bench; name a file of these")


if __name__ == "__main__":
    sys.exit(main())
