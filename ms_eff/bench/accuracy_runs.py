"""What experiments on accuracy share: sizes with changes, seconds of a curve, the call itself."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from ms_eff.errors import ConfigError, UserError
from ms_eff.section import Section, first_mistake
from ms_eff.train.interrupt import Interrupted, Stopped, lock_folder, raising_stop

if TYPE_CHECKING:
    from rich.console import Console

    from ms_eff.bench.rows import Rows

__all__ = [
    "call",
    "changed_size",
    "data_block",
    "measure_missing",
    "steady_seconds",
    "training_seconds",
]

AnySize = TypeVar("AnySize", bound=Section)
AnyCase = TypeVar("AnyCase")


def changed_size(size: AnySize, changes: Mapping[str, Any]) -> AnySize:
    """Return the size of an experiment with changes; None leaves a value as it is.

    Raises:
        ConfigError: the setting, its value and the remedy, in one line.
    """
    said = {key: value for key, value in changes.items() if value is not None}
    try:
        return type(size)(**{**dict(size), **said})
    except ValidationError as error:
        raise ConfigError(first_mistake(error)) from error


def data_block(where: str) -> dict[str, Any]:
    """Return a config's `data` for the folder of CIFAR-10's files, or for the word `digits`.

    >>> data_block("digits")
    {'name': 'digits'}
    """
    return {"name": "digits"} if where == "digits" else {"name": "cifar10", "root": where}


def training_seconds(curve: Sequence[Mapping[str, Any]], batch_size: int) -> list[float]:
    """Return each epoch's seconds of training, compiling included, evaluation not.

    They follow from the rate that the trainer records when the last step of an epoch is done.

    >>> training_seconds([{"step": 10, "samples_per_second": 50.0}], 10)
    [2.0]
    """
    found, before = [], 0
    for epoch in curve:
        found.append((epoch["step"] - before) * batch_size / epoch["samples_per_second"])
        before = epoch["step"]
    return found


def steady_seconds(seconds: Sequence[float]) -> float | None:
    """Return what the training would take if nothing were compiled; None below four epochs.

    The last two epochs stand for all: both phases of sequential freezing, compiled long before.

    >>> steady_seconds([9.0, 8.0, 2.0, 1.0])
    6.0
    """
    return len(seconds) * (seconds[-2] + seconds[-1]) / 2 if len(seconds) >= 4 else None


def measure_missing(
    rows: Rows,
    cases: Iterable[AnyCase],
    measure: Callable[[AnyCase], Mapping[str, Any]],
    tell: Callable[[Mapping[str, Any]], object],
) -> list[dict[str, Any]]:
    """Measure the cases that have no row yet, saving each at once; return all rows.

    Args:
        rows: of the experiment; its key names attributes of the cases.
        cases: in the order in which to measure them.
        measure: case -> row.
        tell: is told each new row.
    """
    for case in cases:
        if rows.find(**{column: getattr(case, column) for column in rows.kind.key}) is None:
            rows.add(measure(case))
            gc.collect()  # compiled graphs go with the cells that own them
            tell(rows.rows[-1])
    return rows.rows


def call(name: str, command: str, work: Path, job: Callable[[Console], object]) -> int:
    """Do the job with the folder of the runs locked, and tell what ended it.

    Args:
        name: of the experiment, for messages.
        command: the line that goes on where a stop left off.
        work: folder of the runs, the option `--work`.
        job: what is to be done; it gets the console to speak on.

    Returns:
        0, 2 for a user's mistake, 130 or 143 when stopped.
    """
    from rich.console import Console

    try:
        with lock_folder(work, key="--work "), raising_stop():
            job(Console(stderr=True))
    except UserError as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except (Interrupted, Stopped) as stop:
        print(f"{name}: {stop}; resume with: {command}", file=sys.stderr)
        return stop.code
    return 0
