"""SciPy's linear algebra, on as many cores as the user allows.

Importing MindSpore sets OMP_NUM_THREADS to 1 behind Python's back and then loads SciPy, whose
OpenBLAS so keeps to one thread for the rest of the process. Whatever decomposes takes `linalg` and
`blas` from here.
"""

from __future__ import annotations

import os

from scipy import linalg
from scipy.linalg import blas
from threadpoolctl import threadpool_limits

__all__ = ["blas", "linalg"]


def _all_cores() -> None:
    # Python's copy of the environment is older than MindSpore's change: what it has is the user's
    if "OMP_NUM_THREADS" not in os.environ and "OPENBLAS_NUM_THREADS" not in os.environ:
        threadpool_limits(limits=len(os.sched_getaffinity(0)), user_api="blas")


_all_cores()
