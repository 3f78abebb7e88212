"""The whole-model table of 4D video networks: `python -m ms_eff.bench.video_speed`.

ECO-Lite at the paper's configuration (arXiv:2407.16514): 16 frames of 243 x 243, 101 classes, batch
1. Each row is a process of its own that times the network with 3D convolutions and the variant in
turns, inference and training step. A row that is there already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ms_eff.bench.child import measured_apart
from ms_eff.bench.rows import Kind, Rows
from ms_eff.bench.video_tables import speed_lines, speed_verdicts
from ms_eff.errors import UserError, VerificationError
from ms_eff.methods.spatiotemporal.core import VARIANTS
from ms_eff.runtime import prepare_cpu

__all__ = ["KIND", "ROWS", "main", "measure"]

_MODULE = "ms_eff.bench.video_speed"
KIND = Kind("video_speed", ("row",), growing=("rows",))
# row -> variant, aligned
ROWS = {
    **{variant: (variant, False) for variant in VARIANTS if variant != "spatial"},
    "add, aligned": ("add", True),
    "cat, aligned": ("cat", True),
}
_WARMUP = 2
_CLASSES = 101


def measure(
    row: str, model: str, frames: int, size: int, runs: int, width: int | None = None
) -> dict[str, Any]:
    """Count and time one row in this process, beside the network with 3D convolutions.

    Args:
        row: one of `ROWS`.
        model: name in `ms_eff.models`.
        frames: of a clip.
        size: side of the frames, in pixels.
        runs: timed rounds.
        width: of `eco_lite_small`; None: its own.
    """
    from ms_eff import models, runtime
    from ms_eff.bench import latency
    from ms_eff.bench.counts import count, totals
    from ms_eff.bench.steps import plain_step
    from ms_eff.methods.spatiotemporal import apply_spatiotemporal
    from ms_eff.train.settings import TrainSettings

    runtime.setup(runtime.DeviceSettings())
    sizes = {"frames": frames, "image_size": size, "num_classes": _CLASSES}
    dense = models.build(model, **sizes, **({} if width is None else {"width": width}))
    variant, aligned = ROWS[row]
    changed, _, _ = apply_spatiotemporal(dense, variant, aligned=aligned, fresh_seed=0)
    shape = (1, frames, 3, size, size)
    layers = count(changed, shape)
    networks = {"conv3d": dense} if variant == "conv3d" else {"conv3d": dense, row: changed}
    settings = TrainSettings(optimizer="momentum")
    found = latency.measure(
        networks,
        shape,
        warmup=_WARMUP,
        runs=runs,
        make_step=lambda network: plain_step(network, settings, _WARMUP + runs),
    )
    kinds = {
        name: {
            "conv3d": found["conv3d"][kind],
            "variant": found[row][kind],
            "frames_per_s": frames * found[row][kind]["throughput_per_s"],
        }
        for name, kind in (("inference", "forward"), ("training", "train_step"))
    }
    return {
        "row": row,
        "params": totals(layers)["params"],
        "macs": totals(layers)["macs"],
        "macs_3d": sum(layer.macs for layer in layers if layer.name.startswith("net3d.")),
        **kinds,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows that are missing, print the table; return 1 if a demand is not met."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    if options.one:
        sizes = options.frames, options.image, options.runs, options.width
        row = measure(options.one, options.model, *sizes)
        print(json.dumps(row))
        return 0
    prepare_cpu()  # for the record: the children choose for themselves
    asked = options.rows or list(ROWS)
    settings = {
        "model": options.model, "frames": options.frames, "image_size": options.image,
        "classes": _CLASSES, "runs": options.runs, "rows": asked,
        **({} if options.width is None else {"width": options.width}),
    }  # fmt: skip
    try:
        rows = Rows(options.output, KIND, settings, shlex.join(["python", "-m", _MODULE, *words]))
        for row in asked:
            if rows.find(row=row) is None:
                print(f"{row} ...", flush=True)
                rows.add(_apart(row, options))
    except UserError as error:
        print(f"video_speed: {error}", file=sys.stderr)
        return 2
    except VerificationError as error:
        print(f"video_speed: {error}", file=sys.stderr)
        return 1
    verdicts = speed_verdicts(rows.rows)
    print("\n".join((*speed_lines(rows.rows), "", *verdicts)))
    # the demand is on the published network
    return int(options.model == "eco_lite" and any("NOT met" in line for line in verdicts))


def _apart(row: str, options: argparse.Namespace) -> dict[str, Any]:
    arguments = [
        "--one", row, "--model", options.model, "--frames", str(options.frames),
        "--image", str(options.image), "--runs", str(options.runs),
        *([] if options.width is None else ["--width", str(options.width)]),
    ]  # fmt: skip
    return measured_apart(row, _MODULE, arguments, {**os.environ, "GLOG_v": "3"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    add = parser.add_argument
    add("--output", type=Path, default=Path("results/video_speed.json"))
    add("--model", choices=("eco_lite", "eco_lite_small"), default="eco_lite")
    add("--frames", type=int, default=16)
    add("--image", type=int, default=243, help="side of the frames (default 243)")
    add("--width", type=int, help="of eco_lite_small")
    add("--runs", type=int, default=10, help="timed rounds a row (default 10)")
    add("--rows", nargs="+", choices=list(ROWS), metavar="ROW", help="these only")
    add("--one", choices=list(ROWS), help="one row here, JSON to stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
