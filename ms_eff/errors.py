"""The exceptions a user of the library meets.

Everything derived from `UserError` is a mistake that its message tells how to mend; the command
line prints it as one line and exits with 2. `VerificationError` is a failure of ours: exit 1.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "PlanError",
    "SetupError",
    "UserError",
    "VerificationError",
    "first_line",
    "nearest",
    "system_refusal",
]

# refusals of the system that no check can foresee, in the middle of the work, and their remedies
_ROOM = "free space, or choose another output=FOLDER; the same command goes on"
_PLACE = "check the path and its permissions, or choose another output=FOLDER"
_OF_THE_SYSTEM: dict[int | None, str] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR), _PLACE),
    errno.EIO: "check the disk; the same command goes on",
    errno.EMFILE: "allow more open files (ulimit -n), or set fewer data.workers",
}


class UserError(ValueError):
    """A mistake in what the user gave; the message names it and its remedy in one line."""


class ConfigError(UserError):
    """A config file or an override is wrong: unknown key, wrong type, out of range."""


class DataError(UserError):
    """A data set is missing or damaged; the message names file, expected and found."""


class CheckpointError(UserError):
    """A checkpoint or weight file is missing, damaged, or of another model."""


class DivergedError(UserError):
    """The loss or the weights are no longer finite; names the step and the last good checkpoint."""


class PlanError(UserError):
    """A plan does not fit the network: no layer matches, a rank is out of range."""


class SetupError(UserError):
    """A package, a device or a port that this run needs is not to be had here."""


class VerificationError(RuntimeError):
    """An exported or rebuilt model does not reproduce the live one within its tolerance."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest known name, or an empty string.

    >>> nearest("lowrnk", ["lowrank", "gqkva"])
    " (did you mean 'lowrank'?)"
    >>> nearest("zzz", ["lowrank"])
    ''
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def first_line(error: BaseException) -> str:
    r"""Return the first line of a foreign error that says something: MindSpore's run to pages.

    >>> first_line(RuntimeError("----- \nFor 'Conv2D', no.\n- C++ Call Stack:"))
    "For 'Conv2D', no."
    """
    lines = (line.strip() for line in str(error).split("\n"))
    return next((line for line in lines if line.strip("- ")), "no message")


def system_refusal(error: BaseException) -> str | None:
    """Return what the system refused and what to do, or None for an error that is none of those.

    >>> system_refusal(OSError(errno.EIO, "Input/output error", "a.txt"))
    'a.txt: Input/output error; check the disk; the same command goes on'
    >>> system_refusal(TypeError("x"))
    """
    if not isinstance(error, OSError) or error.errno not in _OF_THE_SYSTEM:
        return None
    return f"{error.filename or 'a file'}: {error.strerror}; {_OF_THE_SYSTEM[error.errno]}"
