"""The row of each epoch: what is known of it, told to the user and written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from ms_eff.train.evaluate import Scored
from ms_eff.train.logs import History
from ms_eff.train.progress import Progress
from ms_eff.train.tasks import Task

__all__ = ["Rows"]


class Rows:
    """Makes the rows of a run, tells and writes them.

    Args:
        folder: gets `log.csv` and `log.jsonl`.
        task: says how good a network is.
        console: where to tell it.
        writes: whether this worker writes.
        tensorboard: whether it writes for TensorBoard as well.
    """

    def __init__(
        self, folder: Path, task: Task, console: Console, *, writes: bool, tensorboard: bool
    ) -> None:
        self.task, self.console, self.writes = task, console, writes
        self.history = History(folder, tensorboard and writes)

    def new(
        self, progress: Progress, lr: float, loss: float, rate: float, damaged: int | None
    ) -> dict[str, Any]:
        """Return the row of the epoch that progress stands at the end of.

        Args:
            progress: where training stands.
            lr: learning rate of the last step.
            loss: mean over the steps.
            rate: samples per second.
            damaged: how many files were skipped so far, or None where none may be.
        """
        row: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "step": progress.step,
            "seconds": 0.0,
            "lr": lr,
            "train_loss": loss,
            "samples_per_second": round(rate, 1),
        }
        return row if damaged is None else {**row, "damaged": damaged}

    def note(self, row: dict[str, Any], score: Scored, progress: Progress) -> None:
        """Put what an evaluation found into its row, and remember the best."""
        row |= {**score.measures(), "samples": score.samples}
        progress.note_score(score.merit)

    def has_score(self, row: dict[str, Any]) -> bool:
        """Tell whether there was an evaluation after that epoch."""
        return self.task.metric in row

    def tell(self, row: dict[str, Any], epochs: int, history: list[dict[str, Any]]) -> None:
        """Tell a row, one of so many epochs, and write all there are."""
        score = f" · {self.task.told(row)}" if self.has_score(row) else ""
        self.console.print(
            f"epoch {row['epoch']}/{epochs} · loss {row['train_loss']:.4f}{score} "
            f"· {row['samples_per_second']:.0f} samples/s · {row['seconds']:.0f} s"
        )
        if self.writes:
            self.history.write(history)

    def close(self) -> None:
        """Write no more."""
        self.history.close()
