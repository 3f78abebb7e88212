"""`python -m ms_eff.launch`: what `ascend_scripts/train.sh` calls."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ms_eff.errors import UserError
from ms_eff.launch.arguments import parse, usage
from ms_eff.launch.job import make_job
from ms_eff.launch.supervise import Supervisor

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Start a job and wait for it; return the exit code."""
    own = list(words[: words.index("--")]) if "--" in words else list(words)
    if not own or "--help" in own or "-h" in own:
        print(usage())
        return 0 if own else 2
    script = os.environ.get("MS_EFF_LAUNCHER")
    launcher = (script,) if script else (sys.executable, "-m", "ms_eff.launch")
    try:
        job = make_job(parse(words), launcher)
        if job.options.dry_run:
            print(job.describe())
            return 0
        print(job.describe(), file=sys.stderr)
        return Supervisor(job).run()
    except UserError as error:
        print(f"train.sh: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"train.sh: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
