"""Compare MindSpore with torch, cells and trainings: both sides here, or one side a machine.

    python -m cross_check run [--results results/cross_check.json]
    python -m cross_check record OUT.npz [--device ascend] [--dtype float16]
    python -m cross_check replay FILE.npz [--device cuda]

`record` needs MindSpore and ms_eff. `replay` needs torch, transformers for its twins, and of this
project this folder alone. What one side cannot compute is named and left out. Exit code: 0 all
within tolerance, 1 some not or left out, 2 could not be done.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cross_check.bundle import Bundle, BundleError, Record, read, replacing, write
from cross_check.cases import CASES, Case
from cross_check.recipe import Recipe
from cross_check.recipes import RECIPES

if TYPE_CHECKING:
    from cross_check.compare import Row

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    given = _parser().parse_args(arguments)
    try:
        return given.command(given)
    except BundleError as error:
        print(f"cross_check: {error}", file=sys.stderr)
    except ImportError as error:
        needs = "replay needs torch" if given.name == "replay" else "this needs MindSpore and torch"
        print(f"cross_check: {error}; {needs}: pip install -e '.[cross-check]'", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "cross_check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="name", required=True)
    run = commands.add_parser("run", help="record and replay here")
    run.set_defaults(command=_run)
    record = commands.add_parser("record", help="write what MindSpore computes to an .npz")
    record.set_defaults(command=_record)
    record.add_argument("bundle", type=Path)
    replay = commands.add_parser("replay", help="check the torch side against an .npz")
    replay.set_defaults(command=_replay)
    replay.add_argument("bundle", type=Path)
    replay.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    for command in (run, record):
        command.add_argument("--device", choices=("auto", "ascend", "cpu"), default="auto")
        command.add_argument("--dtype", choices=("float32", "float16", "bfloat16"))
        command.add_argument("--mode", choices=("graph", "pynative"))
    for command in (run, record, replay):
        command.add_argument("--case", default="", help="only cases whose name holds this text")
    for command in (run, replay):
        command.add_argument("--results", type=Path, help="write the table to this JSON file")
    return parser


def _run(given: argparse.Namespace) -> int:
    import torch  # noqa: F401  (say that it is missing before MindSpore starts to compile)

    bundle, skipped = _bundle(given)
    return _check(bundle, given.results, "cpu", skipped)


def _record(given: argparse.Namespace) -> int:
    if not given.bundle.parent.is_dir():  # say so before computing
        raise BundleError(f"{given.bundle}: cannot be written: no folder {given.bundle.parent}")
    bundle, skipped = _bundle(given)
    if not bundle.records:
        raise BundleError("; ".join(skipped))
    write(given.bundle, bundle)
    for line in skipped:
        print(f"skipped: {line}")
    print(f"{given.bundle}: {len(bundle.records)} records of {_line(bundle.origin)}")
    return 1 if skipped else 0


def _replay(given: argparse.Namespace) -> int:
    import torch

    if given.device == "cuda" and not torch.cuda.is_available():
        raise BundleError("--device cuda: torch finds no CUDA device here; use --device cpu")
    bundle = read(given.bundle)
    chosen = [record for record in bundle.records if given.case in record.case]
    if not chosen:
        raise BundleError(f"{given.bundle}: no record whose case holds '{given.case}'")
    return _check(Bundle(bundle.origin, chosen), given.results, given.device)


def _bundle(given: argparse.Namespace) -> tuple[Bundle, list[str]]:
    """Compute the chosen cases with MindSpore; say which could not be computed in their type."""
    from ms_eff.errors import SetupError
    from ms_eff.runtime import DeviceSettings, setup

    cases = [case for case in CASES if given.case in case.name]
    recipes = [recipe for recipe in RECIPES if given.case in recipe.name]
    recipes = [recipe for recipe in recipes if given.dtype in (None, recipe.dtype)]
    if not cases and not recipes:
        names = ", ".join(row.name for row in (*CASES, *RECIPES))
        raise BundleError(f"--case '{given.case}': no such case; known: {names}")
    try:
        setup(DeviceSettings(target=given.device))
    except SetupError as error:
        raise BundleError(str(error)) from error
    from cross_check.record import origin

    skipped: list[str] = []
    records = [*_records(cases, given.mode, given.dtype, skipped), *_trained(recipes, given.mode)]
    return Bundle(origin(), records), skipped


def _records(
    cases: list[Case], mode: str | None, dtype: str | None, skipped: list[str]
) -> Iterator[Record]:
    from cross_check.record import run

    for case in cases:
        for each_mode in (mode,) if mode else ("graph", "pynative"):
            for each_dtype in (dtype,) if dtype else case.dtypes:
                print(f"{case.name}: {each_dtype}, {each_mode}", file=sys.stderr)
                try:
                    yield from run(case, each_mode, each_dtype)
                except (TypeError, ValueError, RuntimeError) as error:
                    if each_dtype == "float32":
                        raise
                    skipped.append(
                        f"{case.name}: MindSpore cannot compute it in {each_dtype} on this "
                        f"device: {' '.join(str(error).split())[:200]}"
                    )


def _trained(recipes: list[Recipe], mode: str | None) -> Iterator[Record]:
    """Train the chosen recipes; as graphs unless the other mode is asked for: it takes longer."""
    from cross_check.training import run

    for recipe in recipes:
        print(f"{recipe.name}: {recipe.dtype}, {mode or 'graph'}", file=sys.stderr)
        yield run(recipe, mode or "graph")


def _check(
    bundle: Bundle, results: Path | None, device: str, unrecorded: Sequence[str] = ()
) -> int:
    from cross_check.compare import table
    from cross_check.replay import replay, torch_origin
    from cross_check.retrain import is_recipe, retrain

    rows: list[Row] = []
    skipped = list(unrecorded)
    for record in bundle.records:
        try:
            rows += (retrain if is_recipe(record) else replay)(record, device)
        except ImportError as error:
            skipped.append(f"{record.case}, {record.twin}, {record.mode}: {error}")
        except (KeyError, TypeError) as error:
            raise BundleError(
                f"{record.case}: its record does not fit the twin here ({error}); record it with "
                "the same version of this folder"
            ) from error
    print(table(rows))
    for line in skipped:
        print(f"skipped: {line}")
    failed = sum(not row.passed for row in rows)
    sides = {"mindspore": bundle.origin, "torch": torch_origin(device)}
    print(f"{len(rows) - failed} of {len(rows)} within tolerance, {len(skipped)} skipped")
    print(*(f"{name}: {_line(side)}" for name, side in sides.items()), sep="\n")
    if results is not None:
        lines = [asdict(row) | {"passed": row.passed} for row in rows]
        for entry in lines:  # JSON has no infinity
            entry["difference"] = entry["difference"] if entry["difference"] < math.inf else None
        _write_results(results, {"sides": sides, "rows": lines, "skipped": skipped})
    return 1 if failed or skipped or not rows else 0


def _write_results(path: Path, results: dict[str, Any]) -> None:
    text = json.dumps(results, indent=1) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from error


def _line(side: dict[str, Any]) -> str:
    versions = [f"{name} {version}" for name, version in side["versions"].items()]
    return ", ".join([*versions, side["device"], side["date"]])


if __name__ == "__main__":
    sys.exit(main())
