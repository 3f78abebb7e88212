"""Exported networks in MindSpore Lite against MindSpore itself: `make lite-check`.

Each row is a network: exported to ONNX, converted by MindSpore Lite 2.0.0, run on the CPU by
`ascend_scripts/infer_310` on .npy files, and compared with what the live network gives. The row of
the 3D convolutions is there to be refused. Rows that are there already are not made again.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ms_eff.bench.rows import Kind, Rows
from ms_eff.errors import UserError, VerificationError
from ms_eff.runtime import prepare_cpu

__all__ = ["KIND", "lines", "main", "measure"]

_MODULE = "ms_eff.bench.lite_check"
KIND = Kind("lite_check", ("row",), growing=("rows",))
_SAMPLES = 3  # at an exported batch of 2, one batch is filled up
TOLERANCE = 1e-4  # of the largest output, where that is above 1


def measure(row: str, size: str, work: Path) -> dict[str, Any]:
    """Export, convert, run and compare one network.

    Args:
        row: one of `ms_eff.bench.lite_models.ROWS`.
        size: `full` or `quick`.
        work: folder for the files, which stay.

    Returns:
        JSON: sizes of the files in bytes; `refused`, what the converter says, or None; the largest
        difference and output; in how many samples the best class is another; what the doctor finds.

    Raises:
        SetupError: MindSpore Lite is not there.
    """
    from ms_eff.bench.lite_models import build
    from ms_eff.deploy import verify
    from ms_eff.deploy.export import export
    from ms_eff.deploy.graph_check import check_graph
    from ms_eff.deploy.lite import Lite
    from ms_eff.deploy.operators import ExportError

    lite = Lite()
    subject = build(row, size)
    stem = row.replace(",", "").replace(" ", "_")
    exported = export(subject.network, work / f"{stem}.onnx", [subject.input])
    report = check_graph(exported.path, "ascend310")
    stops = [finding.what for finding in report.findings if finding.grade == "stop"]
    result: dict[str, Any] = {
        "row": row,
        "input": list(subject.input.shape),
        "onnx_bytes": exported.path.stat().st_size,
        "refused": None,
        "refusal_expected": subject.refused,
        "doctor_stops": stops,
    }
    try:
        model = lite.convert(exported.path, work / f"{stem}_lite")
    except ExportError as error:
        return {**result, "refused": str(error)}
    rng = np.random.default_rng(1)
    samples = subject.input.random(rng, _SAMPLES)
    found = lite.run(model, samples)
    live = verify.live(subject.network)
    wanted = np.concatenate([live((samples[i : i + 1],))[0] for i in range(_SAMPLES)])
    gap = verify.difference(lambda _: (wanted,), lambda _: (found,), [(samples,)])
    return {
        **result,
        "mindir_bytes": model.stat().st_size,
        "samples": _SAMPLES,
        "max_abs_difference": gap.max_abs,
        "output_scale": gap.scale,
        "tolerance": TOLERANCE,
        "other_class": int((found.argmax(-1) != wanted.argmax(-1)).sum()),
    }


def good(row: Mapping[str, Any]) -> bool:
    """Tell whether a row is as it should be: within the tolerance, or refused as expected."""
    if row["refused"] or row["refusal_expected"]:
        return bool(row["refused"]) == row["refusal_expected"]
    return bool(row["max_abs_difference"] <= TOLERANCE * row["output_scale"])


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the rows as a Markdown table.

    Args:
        rows: of `measure`.
    """
    table = [
        "| network | ONNX MB | Lite MB | largest difference | largest output | as expected |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        verdict = "yes" if good(row) else "NO"
        onnx = f"{row['onnx_bytes'] / 1e6:.1f}"
        if row["refused"]:
            table.append(f"| {row['row']} | {onnx} | - | refused | - | {verdict} |")
            continue
        mindir, gap = f"{row['mindir_bytes'] / 1e6:.1f}", f"{row['max_abs_difference']:.1e}"
        scale = f"{row['output_scale']:.3g}"
        table.append(f"| {row['row']} | {onnx} | {mindir} | {gap} | {scale} | {verdict} |")
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the rows that are missing, print the table; return 1 if a row is not as it should be."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    prepare_cpu()
    from ms_eff.bench.lite_models import ROWS

    options = _parser(list(ROWS)).parse_args(words)
    asked = options.rows or list(ROWS)
    settings = {"size": options.size, "lite": "2.0.0", "rows": asked}
    try:
        rows = Rows(options.output, KIND, settings, shlex.join(["python", "-m", _MODULE, *words]))
        with tempfile.TemporaryDirectory() as scratch:
            work = options.work or Path(scratch)
            for row in asked:
                if rows.find(row=row) is None:
                    print(f"{row} ...", flush=True)
                    rows.add(measure(row, options.size, work))
    except UserError as error:
        print(f"lite_check: {error}", file=sys.stderr)
        return 2
    except VerificationError as error:
        print(f"lite_check: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines(rows.rows)))
    return int(not all(good(row) for row in rows.rows))


def _parser(rows: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    add = parser.add_argument
    add("--output", type=Path, default=Path("results/lite_check.json"))
    add("--size", choices=("full", "quick"), default="full", help="of the networks (default full)")
    add("--work", type=Path, help="keep the exported and converted files there")
    add("--rows", nargs="+", choices=rows, metavar="ROW", help="these only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
