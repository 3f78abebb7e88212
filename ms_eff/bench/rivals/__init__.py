"""What one would pick instead of ours: other people's methods, for comparisons alone.

No user's config takes them; those that an experiment makes within `known` do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ms_eff.methods.registry import METHODS

__all__ = ["known"]

# config key -> (settings, method), as in the registry of ours
_RIVALS = {
    "tome": ("ms_eff.bench.rivals.tome:ToMeSettings", "ms_eff.bench.rivals.tome_cells:ToMe"),
}


@contextmanager
def known() -> Iterator[None]:
    """Let configs name rivals among the methods, until the block ends.

    >>> with known():
    ...     "tome" in METHODS
    True
    >>> "tome" in METHODS
    False
    """
    before = dict(METHODS)
    METHODS.update(_RIVALS)
    try:
        yield
    finally:
        METHODS.clear()
        METHODS.update(before)
