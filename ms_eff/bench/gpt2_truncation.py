"""Which blocks of a GPT-2 make the best shallow one: every rule of the paper, and a new network.

`python -m ms_eff.bench.gpt2_truncation --text PATH` trains a tokenizer and a teacher on the text,
cuts it to half its blocks by each rule, and trains every student for as many steps. Each finished
row is saved at once; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_eff.bench.accuracy_runs import call, changed_size, measure_missing
from ms_eff.bench.gpt2_truncation_sizes import (
    ARMS,
    KIND,
    SCRATCH,
    SIZES,
    TEACHER,
    Case,
    Size,
    cases,
    peak_lr,
)
from ms_eff.bench.language_runs import texts_of, trained
from ms_eff.bench.rows import Rows
from ms_eff.runtime import DeviceSettings, setup
from ms_eff.train.interrupt import own_signals

if TYPE_CHECKING:
    from mindspore import nn
    from rich.console import Console

__all__ = ["PAPER", "main", "run", "table"]

_MODULE = "ms_eff.bench.gpt2_truncation"
# settings of a size that a call may change
_CHANGES = (
    *("depth", "keep", "dim", "heads", "vocab", "block", "batch"),
    *("teacher_steps", "steps", "seeds"),
)

# WikiText-103 test perplexity of GPT-2 small cut to 6 blocks and fine-tuned for 6 epochs
# (arXiv:2110.08460); of random blocks it gives none
PAPER = {"pseudo_uniform": 26.14, "uniform": 26.6, "bottom": 29.86, "top": 49.61}


def run(
    size: Size,
    texts: Sequence[Path],
    work: Path,
    output: Path,
    command: str = "",
    console: Console | None = None,
) -> list[dict[str, Any]]:
    """Measure every row that `output` does not hold yet, saving each at once; return all rows.

    Args:
        size: of networks, text and training.
        texts: UTF-8 files, of which the end of each is the test.
        work: folder of tokenizer and runs.
        output: JSON with the rows.
        command: for the record.
        console: where to tell what happens.

    Raises:
        ConfigError: `output` was made with other settings.
        DataError: the text is missing, or too short.
        Interrupted: SIGINT or SIGTERM came during training; everything is saved.
    """
    settings = {**size.model_dump(mode="json"), "text": [path.name for path in texts]}
    rows = Rows(output, KIND, settings, command)
    bench = _Bench(size, texts, work, console)
    speak = print if console is None else console.print
    return measure_missing(
        rows,
        cases(size),
        lambda case: bench.measure(case, rows.rows),
        lambda row: speak(f"seed {row['seed']} {row['arm']}: perplexity {row['perplexity']:.2f}"),
    )


class _Bench:
    """One call: the text, read once, and the teacher, trained or taken up."""

    def __init__(
        self, size: Size, texts: Sequence[Path], work: Path, console: Console | None
    ) -> None:
        from ms_eff.data.bpe import train_bpe
        from ms_eff.data.packed import language_set
        from ms_eff.data.settings import DataSettings
        from ms_eff.data.tokens import load_tokenizer
        from ms_eff.train.tasks import Language

        self.size, self.work, self.console = size, work, console
        self.path = work / "tokenizer.json"
        if not self.path.exists():
            train_bpe(texts, size.vocab, self.path)
        limits = (None, size.test_blocks)
        self.data = language_set(
            load_tokenizer(self.path),
            texts,
            block=size.block,
            test_share=size.test_share,
            limits=limits,
        )
        # what the trainer asks of settings besides the data themselves
        self.settings = DataSettings(
            name="language",
            root=work,
            tokenizer=self.path,
            train_files=tuple(path.name for path in texts),
            block=size.block,
            batch_size=size.batch,
        )
        self.task = Language()
        self.taught: nn.Cell | None = None

    def measure(self, case: Case, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Make, judge, train and judge again one network."""
        began = time.perf_counter()
        network, kept = self._network(case)
        fresh = case.arm in (TEACHER, SCRATCH, "random")  # the others start alike at every seed
        known = next((r for r in rows if r["arm"] == case.arm and not fresh), None)
        before = known["zero_step"] if known else self._perplexity(network)
        last = self._train(case, network)
        if case.arm == TEACHER:
            self.taught = network
        return {
            "arm": case.arm,
            "seed": case.seed,
            "kept": kept,
            "zero_step": before,
            "perplexity": last["perplexity"],
            "loss": last["loss"],
            "params": sum(p.size for p in network.get_parameters()),
            "steps": last["step"],
            "tokens": last["step"] * self.size.batch * self.size.block,
            "seconds": last["seconds"],
            "wall_seconds": round(time.perf_counter() - began, 1),
        }

    def _network(self, case: Case) -> tuple[nn.Cell, list[int] | None]:
        from ms_eff.methods.truncation.surgery import truncate_layers

        if case.arm in (TEACHER, SCRATCH):
            depth = self.size.depth if case.arm == TEACHER else self.size.keep
            return self._new(depth, case.seed), None
        if self.taught is None:  # measured by an earlier call
            self.taught = self._new(self.size.depth, 0)
            self._train(Case(TEACHER, 0), self.taught)
        student, plan, _ = truncate_layers(self.taught, self.size.keep, case.arm, seed=case.seed)
        return student, list(plan.kept)

    def _new(self, depth: int, seed: int) -> nn.Cell:
        from ms_eff import models

        return models.build("gpt2", **self._numbers(depth), seed=seed)

    def _numbers(self, depth: int) -> dict[str, int]:
        return {
            "vocab": self.data.vocab,
            "positions": self.size.block,
            "dim": self.size.dim,
            "depth": depth,
            "heads": self.size.heads,
        }

    def _train(self, case: Case, network: nn.Cell) -> dict[str, Any]:
        """Train to the end, or take up what an earlier call did; return the last epoch's row."""
        teacher = case.arm == TEACHER
        return trained(
            network,
            self.data,
            self.settings,
            self.work / case.folder,
            steps=self.size.teacher_steps if teacher else self.size.steps,
            lr=peak_lr(case, self.size),
            seed=case.seed,
            numbers=self._numbers(self.size.depth if teacher else self.size.keep),
            console=self.console,
        )

    def _perplexity(self, network: nn.Cell) -> float:
        from ms_eff.train.feed import Feed

        found = self.task.evaluate(network, Feed(self.data, self.settings).test())
        return found.measures()["perplexity"]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as text: mean over the seeds and spread, beside the paper's figures.

    >>> row = {"arm": "uniform", "seed": 0, "zero_step": 300.0, "perplexity": 41.5}
    >>> print(table([row]).splitlines()[1])
    uniform              300.00    41.50   41.50-41.50        1     26.60
    """
    lines = [f"{'blocks':<18}{'untrained':>9}{'trained':>9}{'spread':>14}{'seeds':>9}{'paper':>10}"]
    for arm in (TEACHER, *ARMS):
        found = [row for row in rows if row["arm"] == arm]
        if not found:
            continue
        trained = [row["perplexity"] for row in found]
        before = statistics.fmean(row["zero_step"] for row in found)
        spread = f"{min(trained):.2f}-{max(trained):.2f}"
        paper = f"{PAPER[arm]:.2f}" if arm in PAPER else ""
        lines.append(
            f"{arm:<18}{before:>9.2f}{statistics.fmean(trained):>9.2f}{spread:>14}"
            f"{len(found):>9}{paper:>10}".rstrip()
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing; return 0, 2 for a user's mistake, 130 or 143 when stopped."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    command = shlex.join(["python", "-m", _MODULE, *words])

    def job(console: Console) -> None:
        setup(DeviceSettings(isa="native"))  # no convolution anywhere
        changes = {name: getattr(options, name) for name in _CHANGES}
        size = changed_size(SIZES[options.size], changes)
        rows = run(size, texts_of(options.text), options.work, options.output, command, console)
        console.print(table(rows), highlight=False)

    return call("gpt2_truncation", command, options.work, job)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {_MODULE}",
        description="Perplexity of a GPT-2 cut to half its blocks, before and after equal steps of "
        f"training: {', '.join(ARMS)}.",
    )
    add = parser.add_argument
    add("--text", type=Path, nargs="+", required=True, help="UTF-8 files, or folders of .txt")
    add("--size", choices=list(SIZES), default="hour", help="default: hour, on two CPU cores")
    add("--output", type=Path, default=Path("results/gpt2_truncation.json"))
    add("--work", type=Path, default=Path("runs/gpt2_truncation"), help="tokenizer and runs")
    add("--depth", type=int, help="blocks of the teacher")
    add("--keep", type=int, help="blocks of the students")
    add("--dim", type=int, help="channels of a token")
    add("--heads", type=int, help="attention heads")
    add("--vocab", type=int, help="tokens of the BPE")
    add("--block", type=int, help="tokens of a sample")
    add("--batch", type=int, help="samples a step")
    add("--teacher-steps", type=int)
    add("--steps", type=int, help="of every student")
    add("--seeds", nargs="+", type=int)
    return parser


if __name__ == "__main__":
    own_signals()
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the progress
    sys.exit(main())
