"""The whole job: inputs, workers, duplicates in order, output; stops and goes on at any chunk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ms_eff.bench import environment
from ms_eff.cleaning.chunks import Chunk, Place, chunk_size, chunks
from ms_eff.cleaning.crew import Crew
from ms_eff.cleaning.draft import Draft, finished, names, open_draft
from ms_eff.cleaning.keys import KeySet
from ms_eff.cleaning.progress import CleaningBar
from ms_eff.cleaning.report import CleaningReport
from ms_eff.cleaning.settings import CleaningSettings, make_settings
from ms_eff.cleaning.sift import Sifted
from ms_eff.cleaning.sources import Source, find_sources
from ms_eff.errors import ConfigError, DataError
from ms_eff.train.interrupt import Interrupted, StopFlag, raising_stop

__all__ = ["clean_text"]

# seconds between two states on disk; what came after the last one is done again
SAVE_EVERY = 5.0


def clean_text(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    fresh: bool = False,
    console: Console | None = None,
    command: str | None = None,
    **settings: Any,
) -> CleaningReport:
    r"""Clean a text of one sample a line, of any size (arXiv:2110.08460); lines keep their order.

    Lines that stay are byte for byte those of the inputs; only where an input's last line has no
    newline and something follows, one is put between. The same call goes on where an earlier one
    stopped, and ends with the same output. Beside the output, `OUT.report.json` tells the counts.

    Args:
        inputs: files, folders of files, or `-`, the standard input; gzip is unpacked.
        output: file to write; packed if it ends in `.gz`.
        workers: processes, 1 being this one alone; None: as many as there are cores.
        overwrite: replace the output if it exists, once the new one is whole.
        fresh: forget what an earlier call had done.
        console: for the progress; standard error if None.
        command: the line that started this, for the report.
        **settings: see `ms_eff.cleaning.settings.CleaningSettings`.

    Returns:
        The counts.

    Raises:
        ConfigError: a setting is wrong, the output exists or is an input, or an earlier call on it
            had other settings or inputs.
        DataError: an input is missing or damaged; nothing is left behind.
        SetupError: the output cannot be written, or a worker ended; the same call goes on.
        Interrupted: SIGINT or SIGTERM; what was done is saved.
        Stopped: likewise, where the input is a stream, of which nothing can be saved.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "raw.txt").write_text("We kept this one line.\n<p>And not this line</p>\n")
    >>> report = clean_text(folder / "raw.txt", folder / "clean.txt", workers=1)
    >>> report.kept, report.dropped["html"], (folder / "clean.txt").read_text()
    (1, 1, 'We kept this one line.\n')
    """
    wanted = make_settings(settings)
    if workers is not None and workers < 1:
        raise ConfigError(f"clean: workers = {workers}: give 1 or more")
    given = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    sources, output = find_sources(given), Path(output)
    about = {
        "settings": wanted.model_dump(mode="json"),
        "chunk": chunk_size(wanted.max_line),
        "inputs": {str(i): source.to_dict() for i, source in enumerate(sources, 1)},
    }
    _check(output, given, sources)
    done = None if fresh else finished(output, about)
    if done is not None:
        return done
    if output.exists() and not overwrite:
        raise ConfigError(f"{output}: exists; replace it with --overwrite, or name another file")
    resumable = not any(source.stream for source in sources)
    with (
        _stops(sources) as stop,
        open_draft(output, about, fresh=fresh, resumable=resumable) as draft,
        _discarding(draft, resumable),
    ):
        job = _Job(draft, sources, wanted, stop, console or Console(stderr=True))
        report = job.run(workers or environment.cores())
        told = {"environment": environment.describe(command), **about, **report.to_dict()}
        draft.finish(told)
        return report


def _check(output: Path, given: Sequence[str | Path], sources: Sequence[Source]) -> None:
    """Refuse an output that is, or lies in, an input."""
    if str(output) == "-" or output.is_dir():
        raise ConfigError(f"{output}: the output is a file; name one")
    for path in map(Path, given):
        if path.is_dir() and output.resolve().is_relative_to(path.resolve()):
            raise ConfigError(f"{output}: lies in the input folder {path}; name it elsewhere")
    for name in (output, *names(output)):
        for source in sources:
            if not source.stream and name.exists() and name.samefile(source.path):
                raise ConfigError(f"{output}: {name.name} is an input too; name another output")


@contextmanager
def _discarding(draft: Draft, resumable: bool) -> Iterator[None]:
    """Remove a draft that no later call could go on with."""
    try:
        yield
    except DataError:  # the input will have to change, and with it all that came of it
        draft.discard()
        raise
    except BaseException:
        if not resumable:
            draft.discard()
        raise


class _Job:
    """One call: from where the draft stands to the end of the inputs."""

    def __init__(
        self,
        draft: Draft,
        sources: Sequence[Source],
        settings: CleaningSettings,
        stop: StopFlag | None,
        console: Console,
    ) -> None:
        self.draft, self.sources, self.settings = draft, sources, settings
        self.stop, self.console = stop, console
        self.size = chunk_size(settings.max_line)
        self.keys = KeySet()
        self.saved = self.counted = time.monotonic()

    def run(self, workers: int) -> CleaningReport:
        """Clean what is left."""
        standing = self.draft.standing
        if standing.complete:
            return standing.report()
        with Crew(self.settings, workers) as crew:
            if self.settings.duplicates and standing.written:
                self._know_the_draft(crew)
            total = sum(source.size for source in self.sources)
            with CleaningBar(self.console, "clean", total, standing.done) as bar:
                rest = chunks(self.sources, standing.place, self.size)
                for chunk, found in crew.sifted(rest):
                    self._take(chunk, found)
                    bar.update(standing.done, standing.read, standing.kept)
                    self._maybe_save()
        self._count_seconds()
        return standing.report()

    def _know_the_draft(self, crew: Crew) -> None:
        """Read the keys of the lines kept so far from the draft: they are all that is needed."""
        draft = self.draft
        source = Source(str(draft.path), draft.standing.written)
        read = 0
        with CleaningBar(self.console, "taking up", source.size) as bar:
            for chunk, found in crew.sifted(chunks([source], Place(), self.size)):
                new = self.keys.add(found.keys)
                read += found.read
                if not new.all() or len(new) < found.read:
                    break
                bar.update(chunk.done, read, read)
                self._maybe_stop()
        if len(self.keys) != draft.standing.kept:
            raise ConfigError(
                f"{draft.path}: damaged: it does not hold the {draft.standing.kept} lines that "
                f"were kept; start over with --fresh"
            )

    def _take(self, chunk: Chunk, found: Sifted) -> None:
        """Drop the duplicates of a chunk, write the rest, count."""
        standing = self.draft.standing
        if self.settings.duplicates:
            new = self.keys.add(found.keys)
        else:
            new = np.ones(len(found.keys), bool)
        self.draft.append(found.only(new))
        passed = int(chunk.passed > 0)
        kept = int(new.sum())
        standing.read += found.read + passed
        standing.kept += kept
        for reason, count in found.dropped.items():
            standing.dropped[reason] += count
        standing.dropped["too_long"] += passed
        standing.dropped["duplicate"] += len(new) - kept
        standing.bytes_read += len(chunk.data) + chunk.passed
        standing.source, standing.offset = chunk.next.source, chunk.next.offset
        standing.done = chunk.done

    def _maybe_save(self) -> None:
        self._maybe_stop()
        if time.monotonic() - self.saved >= SAVE_EVERY:
            self._save()

    def _save(self) -> None:
        self._count_seconds()
        self.draft.save()
        self.saved = time.monotonic()

    def _maybe_stop(self) -> None:
        if self.stop is not None and self.stop.received is not None:
            self._save()
            raise Interrupted(self.stop.received, self.draft.path)

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.draft.standing.seconds += now - self.counted
        self.counted = now


@contextmanager
def _stops(sources: Sequence[Source]) -> Iterator[StopFlag | None]:
    """Note SIGINT and SIGTERM; a stream, which may wait for ever, they end at once."""
    if threading.current_thread() is not threading.main_thread():
        yield None  # only the main thread may ask for signals
    elif any(source.stream for source in sources):
        with raising_stop():
            yield None
    else:
        with StopFlag() as stop:
            yield stop
