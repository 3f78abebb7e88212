"""How much faster low-rank networks are, whole: `make bench-lowrank`.

Each row is a process of its own that times the dense network and the changed one in turns. A row
that is in the results already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ms_eff.bench import environment
from ms_eff.bench.child import isa_variables, measured_apart
from ms_eff.bench.lowrank_speed_table import lines, met
from ms_eff.errors import DataError
from ms_eff.files import read_json, replacing
from ms_eff.runtime import prepare_cpu

__all__ = ["CASES", "Case", "main"]

# the papers leave the stem and the downsample convolutions whole
_RESNET = {"exclude": ["conv1", "*.downsample.*"]}
_SEARCH = {"ratio": 2.0, "divisor": 16, "rank_search": {"objective": "train"}}
# matrix products in AVX-512 work in columns of 64
_VIT = {**_SEARCH, "divisor": 64, "exclude": ["patch_embed.*", "head"]}


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        model: name in `ms_eff.models`.
        variant: what was done to it.
        settings: of the low-rank method.
        freeze: time both phases of sequential freezing, in place of the unfrozen step.
        wanted: gains in throughput that are demanded, in %: training, inference.
        paper: gains that arXiv:2407.20266 prints (2309.12412 for targeting), in %; other networks
            than these, on Ascend 910 or GPUs.
        isa: of oneDNN; networks without convolutions are better off `native`.
    """

    model: str
    variant: str
    settings: Mapping[str, Any]
    wanted: tuple[float, float]
    paper: tuple[float, float] | None = None
    freeze: bool = False
    isa: str = "auto"
    args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name of the row."""
        return f"{self.model}: {self.variant}"


def _merging(model: str, wanted: tuple[float, float], paper: tuple[float, float]) -> list[Case]:
    return [
        Case(model, "merging", {"merge": 0.5}, wanted, paper),
        Case(model, "merging without biases", {"merge": 0.5, "merge_bias": False}, wanted, paper),
    ]


CASES = {
    case.key: case
    for case in (
        Case("resnet50", "vanilla 2x", {"ratio": 2.0, **_RESNET}, (40, 50), (6.07, 6.82)),
        Case("resnet50", "optimised ranks", {**_SEARCH, **_RESNET}, (50, 60), (14.16, 13.96)),
        Case(
            "resnet50", "optimised ranks, sequential freezing", {**_SEARCH, **_RESNET}, (80, 60),
            (60.0, 37.0), freeze=True,
        ),
        *_merging("resnet50", (77, 70), (43.64, 40.58)),
        Case(
            "resnet50", "targeted layers", {**_SEARCH, **_RESNET, "target": {"share": 0.5}},
            (16, 30), (5.36, 15.79),
        ),
        *_merging("resnet101", (77, 70), (52.66, 54.56)),
        *_merging("resnet152", (77, 70), (55.86, 54.90)),
        Case(
            "vit_small_patch16", "optimised ranks, sequential freezing", _VIT,
            (50, 40), (60.0, 37.0), freeze=True, isa="native",
        ),
    )
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows that are missing, print the table; return 1 if a demand is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/lowrank_speed.json"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="of the images (default 224)")
    parser.add_argument("--runs", type=int, default=20, help="timed rounds a row (default 20)")
    parser.add_argument("--only", nargs="*", metavar="ROW", help="parts of rows' names")
    parser.add_argument("--again", action="store_true", help="measure rows that are there too")
    parser.add_argument("--one", choices=list(CASES), help="one row here, JSON to stdout")
    options = parser.parse_args(arguments)
    if options.one:
        from ms_eff.bench.lowrank_speed_row import measure

        print(json.dumps(measure(CASES[options.one], options.batch, options.size, options.runs)))
        return 0
    prepare_cpu()  # for the record: the children choose for themselves
    rows = _rows(options.output)
    for key, case in CASES.items():
        if (key in rows and not options.again) or not _asked(key, options.only):
            continue
        print(f"{key} ...", flush=True)
        rows[key] = _in_process(case, options)
        _write(options.output, rows, options)
    known = {key: rows[key] for key in CASES if key in rows}
    print("\n".join(lines(known)))
    return 0 if all(all(met(row).values()) for row in known.values()) else 1


def _asked(key: str, only: Sequence[str] | None) -> bool:
    return not only or any(part in key for part in only)


def _rows(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    found: dict[str, Any] = read_json(path, DataError).get("rows", {})
    return found


def _write(path: Path, rows: Mapping[str, Any], options: argparse.Namespace) -> None:
    command = (
        f"python -m ms_eff.bench.lowrank_speed --batch {options.batch} --size {options.size} "
        f"--runs {options.runs}"
    )
    results = {
        "environment": environment.describe(command, seed=0),
        "batch": options.batch,
        "size": options.size,
        "rows": {key: rows[key] for key in CASES if key in rows},
    }
    with replacing(path, DataError) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _in_process(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    arguments = [
        "--one", case.key, "--batch", str(options.batch), "--size", str(options.size),
        "--runs", str(options.runs),
    ]  # fmt: skip
    variables = isa_variables(case.isa)
    found = measured_apart(case.key, "ms_eff.bench.lowrank_speed", arguments, variables)
    wanted = dict(zip(("training", "inference"), case.wanted, strict=True))
    found["wanted"], found["paper"] = wanted, case.paper
    found["case"] = {key: value for key, value in asdict(case).items() if key != "paper"}
    return found


if __name__ == "__main__":
    sys.exit(main())
