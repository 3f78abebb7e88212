"""`python -m ms_eff.launch`: what `ascend_scripts/train.sh` calls."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from ms_eff.errors import UserError

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Start a job and wait for it; return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopped_early)
    # only now: it takes a while, and a signal may come in it
    from ms_eff.launch.arguments import parse, usage
    from ms_eff.launch.job import make_job, tell_others
    from ms_eff.launch.supervise import Supervisor

    own = list(words[: words.index("--")]) if "--" in words else list(words)
    if not own or "--help" in own or "-h" in own:
        print(usage())
        return 0 if own else 2
    script = os.environ.get("MS_EFF_LAUNCHER")
    launcher = (script,) if script else (sys.executable, "-m", "ms_eff.launch")
    options = None
    try:
        options = parse(words)
        job = make_job(options, launcher)
        if options.dry_run:
            print(job.describe())
            return 0
        print(job.describe(), file=sys.stderr)
        return Supervisor(job).run()
    except UserError as error:
        what = " ".join(str(error).split())
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if options and not options.dry_run:
        tell_others(options, what)
    print(f"train.sh: {what}", file=sys.stderr)
    return 2


def _stopped_early(number: int, _frame: FrameType | None) -> NoReturn:
    name = signal.Signals(number).name
    print(
        f"train.sh: stopped by {name} before anything was started; call it again", file=sys.stderr
    )
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
