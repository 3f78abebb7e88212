"""Speed and memory of `ms-eff clean` on a text of any size: `python -m ms_eff.bench.cleaning`.

The text is made of a given one: its sentences, in as many variants as it takes, with dirt between
them. The command runs as a process of its own; what counts is its time and the memory of all its
processes together. What it dropped must be what was put in, reason by reason.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from ms_eff.bench import environment
from ms_eff.bench.dirty_text import clean_sentences, dirty, varied
from ms_eff.cleaning.sources import find_sources
from ms_eff.errors import DataError, UserError, VerificationError
from ms_eff.files import read_json, replacing

__all__ = ["BYTES_LIMIT", "SECONDS_LIMIT", "main", "make_text", "measure"]

# asked for: of 1 GB on two cores; longer texts may take longer
SECONDS_LIMIT = 180.0
BYTES_LIMIT = 1e9
_MODULE = "ms_eff.bench.cleaning"
_EVERY = 0.05  # seconds between two looks at the memory


def make_text(sources: Sequence[Path], path: Path, size: float, seed: int = 0) -> dict[str, int]:
    """Write a dirty text of a good `size` bytes; return its lines: `kept`, and those to go.

    Args:
        sources: texts it is made of.
        path: the file.
        size: in bytes, passed by less than one variant of all the sentences.
        seed: of the dirt.

    Raises:
        DataError: a source cannot be read or has no sentence to use.
    """
    try:
        lines = clean_sentences(b"\n".join(source.read_bytes() for source in sources))
    except OSError as error:
        raise DataError(f"--text {error.filename}: cannot be read: {error.strerror}") from error
    if not lines:
        raise DataError("--text: no sentence of five words in it; name another text")
    counts: Counter[str] = Counter()
    written, variant = 0, 0
    with path.open("wb") as stream:
        while written < size:
            found, dirt = dirty(varied(lines, variant), (seed, variant))
            written += stream.write(b"\n".join(found) + b"\n")
            counts.update(dirt, kept=len(lines))
            variant += 1
    return dict(counts)


def measure(source: Path, output: Path, expected: dict[str, int], workers: int) -> dict[str, Any]:
    """Clean a text in a process of its own.

    Args:
        source: the text.
        output: file to write.
        expected: what `make_text` said of it.
        workers: processes beside the main one.

    Returns:
        `seconds` from start to end of the process; `peak_bytes`, resident, of all its processes
        together, shared pages counted in each; `lines` and `counts`.

    Raises:
        VerificationError: the command failed, or its counts are not what was put in.
    """
    call = [sys.executable, "-c", "from ms_eff.cli import main; main()", "clean"]
    start = time.perf_counter()
    with subprocess.Popen(
        [*call, str(source), str(output), "--workers", str(workers)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        peak = _watch(process)
        said = process.stderr.read() if process.stderr else ""
    seconds = time.perf_counter() - start
    if process.returncode:
        last = (said.strip().splitlines() or ["no message"])[-1]
        raise VerificationError(f"clean: could not be measured: {last}")
    report = read_json(output.with_name(output.name + ".report.json"), DataError)
    found = {"kept": report["kept"], **{k: n for k, n in report["dropped"].items() if n}}
    wanted = {kind: count for kind, count in expected.items() if count}
    if found != wanted:
        raise VerificationError(f"clean: counts {found} are not what was put in: {wanted}")
    return {
        "bytes": source.stat().st_size,
        "workers": workers,
        "seconds": seconds,
        "peak_bytes": peak,
        "lines": report["read"],
        "counts": found,
        "bytes_kept": report["bytes_kept"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the results; return 1 if a limit is not kept, 2 for a user's mistake."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before anything is measured
    try:
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            source, output = Path(folder) / "dirty.txt", Path(folder) / "clean.txt"
            texts = [Path(found.path) for found in find_sources(options.text)]
            expected = make_text(texts, source, 1e9 * options.gigabytes, options.seed)
            found = measure(source, output, expected, options.workers)
    except (UserError, VerificationError) as error:
        print(f"cleaning: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    seconds_limit = SECONDS_LIMIT * max(options.gigabytes, 1.0)
    met = found["seconds"] < seconds_limit and found["peak_bytes"] < BYTES_LIMIT
    wanted = {"seconds": seconds_limit, "bytes": BYTES_LIMIT}
    command = shlex.join(["python", "-m", _MODULE, *words])
    results = {
        "environment": environment.describe(command, seed=options.seed),
        **found,
        "wanted": wanted,
        "met": met,
    }
    with replacing(options.output) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(
        f"{found['bytes'] / 1e9:.2f} GB, {found['lines']:,} lines, {found['counts']['kept']:,} "
        f"kept: {found['seconds']:.1f} s (limit {seconds_limit:.0f}), "
        f"{found['peak_bytes'] / 1e9:.2f} GB of memory (limit {BYTES_LIMIT / 1e9:.0f}): "
        f"{'met' if met else 'NOT met'}"
    )
    return 0 if met else 1


def _watch(process: subprocess.Popen[str]) -> int:
    """Wait for a process; return the largest resident memory of it and its children together."""
    peak = 0
    root = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        try:
            for one in (root, *root.children(recursive=True)):
                total += one.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
        peak = max(peak, total)
        time.sleep(_EVERY)
    return peak


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {_MODULE}", description="Time and memory of `ms-eff clean`."
    )
    add = parser.add_argument
    add("--text", nargs="+", type=Path, required=True, help="UTF-8 files, or folders of them")
    add("--gigabytes", type=float, default=1.0, help="size of the dirty text; default: 1")
    add("--workers", type=int, default=2)
    add("--seed", type=int, default=0)
    add("--work", type=Path, help="folder for both texts; default: the system's temporary one")
    add("--output", type=Path, default=Path("results/cleaning_speed.json"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
