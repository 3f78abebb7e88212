"""What each process of a job runs: the command line of `ms-eff`, as a file that msrun can start."""

from __future__ import annotations

from ms_eff.cli import main

if __name__ == "__main__":
    main()
