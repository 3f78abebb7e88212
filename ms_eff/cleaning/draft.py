"""The output while it is being made, and what a later call must know to go on with it.

`OUT.partial` holds the lines kept so far, `OUT.state.json` how far they go. What was written after
the last state is cut off by the call that goes on; so it may end at any moment.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ms_eff.cleaning.chunks import Place
from ms_eff.cleaning.report import CleaningReport
from ms_eff.cleaning.settings import REASONS
from ms_eff.errors import ConfigError, SetupError
from ms_eff.files import flush, read_json, replacing
from ms_eff.results import difference

__all__ = ["Draft", "Standing", "finished", "names", "open_draft"]

_FORMAT = "ms_eff.cleaning/1"


@dataclass
class Standing:
    """How far a cleaning is.

    Attributes:
        source: input that comes next.
        offset: place in its unpacked text.
        done: bytes of the stored inputs gone through, for the progress.
        written: bytes of the draft.
        open_line: the draft's last line has no newline yet.
        read: lines read.
        kept: lines kept.
        dropped: lines dropped, by reason.
        bytes_read: of the unpacked inputs.
        bytes_kept: of the unpacked output.
        seconds: worked so far.
        complete: nothing is left to read.
    """

    source: int = 0
    offset: int = 0
    done: int = 0
    written: int = 0
    open_line: bool = False
    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    bytes_read: int = 0
    bytes_kept: int = 0
    seconds: float = 0.0
    complete: bool = False

    @property
    def place(self) -> Place:
        """Where the next chunk begins."""
        return Place(self.source, self.offset)

    def report(self) -> CleaningReport:
        """Return the counts alone."""
        return CleaningReport(
            self.read, self.kept, self.dropped, self.bytes_read, self.bytes_kept, self.seconds
        )


def names(output: Path) -> tuple[Path, Path, Path]:
    """Return the names of draft, state and report.

    >>> [path.name for path in names(Path("a.txt"))]
    ['a.txt.partial', 'a.txt.state.json', 'a.txt.report.json']
    """
    draft, state, report = (
        output.with_name(output.name + end) for end in (".partial", ".state.json", ".report.json")
    )
    return draft, state, report


class Draft:
    """An output that is not whole yet; made by `open_draft`, which holds its lock.

    Args:
        output: final name; one that ends in `.gz` is packed.
        handle: descriptor of the opened draft.
        about: settings and inputs, as JSON.
        standing: where it stands.
        resumable: keep a state, so that another call can go on.
    """

    def __init__(
        self,
        output: Path,
        handle: int,
        about: Mapping[str, Any],
        standing: Standing,
        resumable: bool,
    ) -> None:
        self.output, self.about, self.standing = output, about, standing
        self.path, self.state, self.report_path = names(output)
        self._handle, self._resumable = handle, resumable
        self._packed = output.suffix == ".gz"

    def append(self, text: bytes) -> None:
        """Write lines behind those that are there; call `save` to make them count.

        Raises:
            SetupError: the system refuses; the last state stands.
        """
        if not text:
            return
        standing = self.standing
        if standing.open_line:  # the last line of an input before, which had no newline
            text = b"\n" + text
        standing.open_line = not text.endswith(b"\n")
        standing.bytes_kept += len(text)
        # one gzip member a chunk: the file can be cut after any of them
        data = gzip.compress(text, 6, mtime=0) if self._packed else text
        self._write(data)

    def save(self) -> None:
        """Write the state: what was appended until now will be found by the next call."""
        if not self._resumable:
            return
        with self._refusals():
            os.fsync(self._handle)
        content = {"format": _FORMAT, **self.about, "standing": asdict(self.standing)}
        with replacing(self.state, SetupError) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def finish(self, report: Mapping[str, Any]) -> None:
        """Write the report, and give the draft its final name."""
        if self._packed and not self.standing.written:
            self._write(gzip.compress(b"", mtime=0))  # an empty file is no gzip
        self.standing.complete = True
        self.save()
        with replacing(self.report_path, SetupError) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        with self._refusals():
            os.fsync(self._handle)
            os.replace(self.path, self.output)
            flush(self.output.parent)
        self.state.unlink(missing_ok=True)

    def discard(self) -> None:
        """Leave nothing behind."""
        self.path.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        with self._refusals():
            while left:
                left = left[os.write(self._handle, left) :]
        self.standing.written += len(data)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SetupError(
                f"{self.path}: cannot be written: {error.strerror}; {self.output.name} was not "
                "made; make room, and the same command goes on where this one stopped"
            ) from error


@contextmanager
def open_draft(
    output: Path, about: Mapping[str, Any], *, fresh: bool = False, resumable: bool = True
) -> Iterator[Draft]:
    """Begin a draft, or go on with the one that is there.

    Args:
        output: final name.
        about: settings and inputs, as JSON: those of a draft that is there must be the same.
        fresh: forget a draft that is there.
        resumable: keep a state.

    Raises:
        ConfigError: the draft that is there was made otherwise, is damaged, or is none of ours.
        SetupError: it cannot be written, or another process is writing it.
    """
    path, state, _ = names(output)
    with _locked(path) as handle:
        standing = None
        if state.exists() and not fresh:
            standing = _taken_up(output, about, os.fstat(handle).st_size)
        elif os.fstat(handle).st_size and not fresh:
            raise ConfigError(
                f"{path}: is there without {state.name}, so nobody knows how far it goes; "
                "start over with --fresh, or give it another name"
            )
        draft = Draft(output, handle, about, standing or Standing(), resumable)
        os.ftruncate(handle, draft.standing.written)
        os.lseek(handle, 0, os.SEEK_END)
        if standing is None:
            draft.save()
        yield draft


def finished(output: Path, about: Mapping[str, Any]) -> CleaningReport | None:
    """Return the report of a call that was killed when all but its state's removal was done."""
    path, state, _ = names(output)
    if path.exists() or not output.exists() or not state.exists():
        return None
    standing = _read_state(state, about)
    if not standing.complete:
        return None
    state.unlink()
    return standing.report()


def _taken_up(output: Path, about: Mapping[str, Any], size: int) -> Standing | None:
    """Return where the draft stands; None if it is gone."""
    path, state, _ = names(output)
    standing = _read_state(state, about)
    if size < standing.written:
        if size == 0:
            return None
        raise ConfigError(
            f"{path}: damaged: {standing.written} bytes were written, {size} are there; start "
            "over with --fresh"
        )
    return standing


def _read_state(state: Path, about: Mapping[str, Any]) -> Standing:
    found = read_json(state, ConfigError)
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise ConfigError(f"{state}: no state of `ms-eff clean`; start over with --fresh")
    changed = difference({key: found.get(key) for key in about}, dict(about))
    if changed:
        raise ConfigError(
            f"{state}: what it stopped at was begun with something else ({changed}); give the "
            "same, or start over with --fresh"
        )
    try:
        return Standing(**found["standing"])
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{state}: damaged ({error}); start over with --fresh") from error


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Open a draft for this process alone; the lock dies with the process."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise SetupError(
            f"{path}: cannot be written: {error.strerror}; name another output"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = path.exists() and os.path.samestat(os.fstat(handle), path.stat())
        except BlockingIOError:
            held = False
        if not held:  # or it has just got its final name
            raise SetupError(f"{path}: another process is writing it; wait, or name another output")
        yield handle
    finally:
        os.close(handle)
