"""How fast grouped attention and token skipping are on a ViT: `make bench-vit`.

The nine rows of GQKVA (arXiv:2311.03426) and SkipViT (arXiv:2401.15293) at 55 %, with one to six
reduced blocks; beside them ToMe (arXiv:2210.09461), a rival, at the work of five. Each row is a
process of its own that times the plain network and the changed one in turns. A row that is in the
results already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ms_eff.bench.child import isa_variables, measured_apart
from ms_eff.bench.rivals.tome import equal_work
from ms_eff.bench.rows import Kind, Rows
from ms_eff.bench.vit_variants_table import lines, met
from ms_eff.errors import UserError
from ms_eff.runtime import prepare_cpu

__all__ = ["CASES", "KIND", "SIZES", "Case", "Size", "main"]

_MODULE = "ms_eff.bench.vit_variants"
# milliseconds a batch of 288 in the paper
_PAPER_MHA = 178.90
KIND = Kind("vit_variants", ("method", "variant"), growing=())


@dataclass(frozen=True)
class Case:
    """A row of one of the two tables.

    Attributes:
        method: `gqkva`, `skipvit` or `tome`.
        variant: its name there.
        settings: of the method.
        paper: what the method's paper has for it, on other devices than ours: `params` in millions,
            `ms` a batch of 288, `gain` in throughput of training in %.
        wanted: gain in throughput of training that is demanded, in %.
    """

    method: str
    variant: str
    settings: Mapping[str, Any]
    paper: Mapping[str, float] = field(default_factory=dict)
    wanted: float | None = None

    @property
    def key(self) -> str:
        """Name of the row."""
        return f"{self.method}: {self.variant}"


@dataclass(frozen=True)
class Size:
    """The network that is timed, and on what."""

    model: str
    args: Mapping[str, Any]
    batch: int


SIZES = {
    # twelve blocks, since the rows of SkipViT name blocks
    "quick": Size("vit", {"image_size": 32, "patch_size": 8, "dim": 24, "num_classes": 10}, 2),
    "full": Size("vit_small_patch16", {"image_size": 224}, 8),
}


def _grouped(variant: str, kind: str, groups: Any, params: float, milliseconds: float) -> Case:
    gain = round(100 * (_PAPER_MHA / milliseconds - 1), 2)
    paper = {"params": params, "ms": milliseconds, "gain": gain}
    return Case("gqkva", variant, {"kind": kind, "groups": groups}, paper)


def _merging(reduced: int) -> Case:
    """Return the row in which tokens merge at the work of so many reduced blocks."""
    merged = equal_work(196, 12, 384, reduced, 0.55)
    return Case("tome", f"ToMe, {merged} tokens a block", {"merged": merged})


def _skipping(reduced: int) -> Case:
    """Return the row with so many reduced blocks; the merge stays where it is by default."""
    if reduced == 3:
        settings: dict[str, Any] = {"preset": "paper_like"}
        return Case("skipvit", "3 blocks (paper_like)", settings, {"gain": 13.23}, 13.23)
    if reduced == 5:
        return Case("skipvit", "5 blocks (default)", {}, wanted=24)
    settings = {"score_block": 10 - reduced, "merge_block": 11}
    return Case("skipvit", f"{reduced} block{'s' * (reduced > 1)}", settings)


CASES = {
    case.key: case
    for case in (
        _grouped("MHA", "mha", None, 22.05, 178.90),
        _grouped("GKVA-3", "gkva", 3, 21.16, 177.96),
        _grouped("GKVA-2", "gkva", 2, 20.86, 177.88),
        _grouped("MKVA", "mkva", None, 20.57, 177.58),
        _grouped("GQA-3", "gqa", 3, 20.27, 177.84),
        _grouped("GQA-2", "gqa", 2, 19.68, 176.89),
        _grouped("MQA", "mqa", None, 19.09, 173.94),
        _grouped("GQKVA-2.3", "gqkva", (2, 3), 19.09, 175.77),
        _grouped("GQKVA-3.2", "gqkva", (3, 2), 18.79, 175.67),
        *(_skipping(reduced) for reduced in range(1, 7)),
        _merging(5),
    )
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows that are missing, print the tables; return 1 if a demand is not met."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    if options.one:
        from ms_eff.bench.vit_variants_row import measure

        print(json.dumps(measure(CASES[options.one], SIZES[options.size], options.runs)))
        return 0
    prepare_cpu("native")  # for the record: the children choose for themselves
    size = SIZES[options.size]
    command = shlex.join(["python", "-m", _MODULE, *words])
    try:
        rows = Rows(options.output, KIND, {**asdict(size), "runs": options.runs}, command)
        for key, case in CASES.items():
            wanted = not options.only or any(part in key for part in options.only)
            if wanted and rows.find(method=case.method, variant=case.variant) is None:
                print(f"{key} ...", flush=True)
                rows.add(_in_process(case, options))
    except UserError as error:
        print(f"vit_variants: {error}", file=sys.stderr)
        return 2
    known = {f"{row['method']}: {row['variant']}": row for row in rows.rows}
    there = [known[key] for key in CASES if key in known]
    print("\n".join(lines(there)))
    return 0 if all(all(met(row).values()) for row in there) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    add = parser.add_argument
    add("--output", type=Path, default=Path("results/vit_variants_speed.json"))
    add("--size", choices=list(SIZES), default="full", help="full: ViT-S/16 at 224, batch 8")
    add("--runs", type=int, default=20, help="timed rounds a row (default 20)")
    add("--only", nargs="*", metavar="ROW", help="parts of rows' names")
    add("--one", choices=list(CASES), help="one row here, JSON to stdout")
    return parser


def _in_process(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    arguments = ["--one", case.key, "--size", options.size, "--runs", str(options.runs)]
    # no convolution anywhere: better off with every instruction
    found = measured_apart(case.key, _MODULE, arguments, isa_variables("native"))
    return {**asdict(case), **found}


if __name__ == "__main__":
    sys.exit(main())
