"""What cleaning is worth to a language model: `python -m ms_eff.bench.cleaning_effect --text PATH`.

The sentences of a text, dirt between them, are one training text; what `ms-eff clean` leaves of it
is the other. The same GPT-2, the same new weights, learns each for as many steps, and is judged on
sentences that neither holds. Each finished row is saved at once; the same command goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ms_eff.bench.accuracy_runs import call, changed_size, measure_missing
from ms_eff.bench.dirty_text import Dirt, clean_sentences, dirty
from ms_eff.bench.language_runs import texts_of, trained
from ms_eff.bench.rows import Kind, Rows
from ms_eff.cleaning.clean import clean_text
from ms_eff.errors import DataError
from ms_eff.files import replacing
from ms_eff.runtime import DeviceSettings, setup
from ms_eff.section import Section
from ms_eff.train.interrupt import own_signals

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ARMS", "KIND", "SIZES", "Case", "Size", "main", "prepare", "run", "table"]

_MODULE = "ms_eff.bench.cleaning_effect"
KIND = Kind("cleaning_effect", ("arm", "seed"))
ARMS = ("raw", "cleaned")
Count = Annotated[int, Field(ge=1)]


class Size(Section):
    """How large the experiment is.

    Attributes:
        vocab: tokens of the byte-level BPE, trained on the raw text: both learn with the same.
        dim: channels of a token.
        depth: blocks of the network.
        heads: attention heads.
        block: tokens of a sample, and of a window of the test.
        batch: blocks a step.
        steps: of training, on either text.
        lr: peak learning rate.
        test_share: the end of every text, in sentences, that is kept for the test.
        seeds: of the weights, and of which blocks of text are seen.
    """

    vocab: int = Field(gt=256)
    dim: Count
    depth: Count = 6
    heads: Count
    block: int = Field(ge=8)
    batch: Count
    steps: Count
    lr: float = Field(1e-3, gt=0)
    test_share: float = Field(0.03, gt=0, lt=1)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field((0, 1), min_length=1)


SIZES = {
    "quick": Size(vocab=512, dim=32, depth=2, heads=2, block=32, batch=8, steps=10, seeds=(0,)),
    "hour": Size(vocab=4096, dim=128, heads=4, block=128, batch=16, steps=1500),
    "full": Size(vocab=50257, dim=768, heads=12, block=1024, batch=32, steps=100_000, lr=6e-4),
}


@dataclass(frozen=True)
class Case:
    """One row: a training text, and the seed of weights and order."""

    arm: str
    seed: int


def prepare(texts: Sequence[Path], folder: Path, test_share: float) -> dict[str, Any]:
    """Write `raw.txt`, `cleaned.txt` and `test.txt`; return what cleaning dropped.

    Args:
        texts: UTF-8 files.
        folder: where to write.
        test_share: of the sentences of each text.

    Raises:
        DataError: the texts are missing or hold too little.
    """
    learned: list[bytes] = []
    judged: list[bytes] = []
    for path in texts:
        try:
            sentences = clean_sentences(path.read_bytes())
        except OSError as error:
            raise DataError(f"--text {path}: cannot be read: {error.strerror}") from error
        cut = len(sentences) - round(test_share * len(sentences))
        learned += sentences[:cut]
        judged += sentences[cut:]
    if not learned or not judged:
        raise DataError("--text: too little text to learn from and to judge by; name more")
    # a tokenizer takes UTF-8 alone
    raw, _ = dirty(learned, 0, Dirt(invalid_utf8=0))
    for name, lines in (("raw", raw), ("test", judged)):
        with replacing(folder / f"{name}.txt", DataError) as temporary:
            temporary.write_bytes(b"\n".join(lines) + b"\n")
    cleaned = clean_text(folder / "raw.txt", folder / "cleaned.txt", overwrite=True, fresh=True)
    return {"read": cleaned.read, "kept": cleaned.kept, "dropped": dict(cleaned.dropped)}


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
        size: of network, text and training.
        texts: UTF-8 files.
        work: folder of texts, tokenizer and runs.
        output: JSON with the rows.
        command: for the record.
        console: where to tell what happens.

    Raises:
        ConfigError: `output` was made with other settings.
        DataError: the text is missing, or too short.
        Interrupted: SIGINT or SIGTERM came during training; everything is saved.
    """
    from ms_eff.data.bpe import train_bpe

    work.mkdir(parents=True, exist_ok=True)
    counts = prepare(texts, work, size.test_share)
    settings = {**size.model_dump(mode="json"), "text": [p.name for p in texts], "lines": counts}
    rows = Rows(output, KIND, settings, command)
    if not (work / "tokenizer.json").exists():
        train_bpe([work / "raw.txt"], size.vocab, work / "tokenizer.json")
    speak = print if console is None else console.print
    return measure_missing(
        rows,
        [Case(arm, seed) for seed in size.seeds for arm in ARMS],
        lambda case: _measured(case, size, work, console),
        lambda row: speak(f"seed {row['seed']} {row['arm']}: perplexity {row['perplexity']:.2f}"),
    )


def _measured(case: Case, size: Size, work: Path, console: Console | None) -> dict[str, Any]:
    """Train one network and judge it."""
    from ms_eff import models
    from ms_eff.data.packed import language_set
    from ms_eff.data.settings import DataSettings
    from ms_eff.data.tokens import load_tokenizer

    path = work / "tokenizer.json"
    names = f"{case.arm}.txt", "test.txt"
    data = language_set(
        load_tokenizer(path), [work / names[0]], [work / names[1]], block=size.block
    )
    settings = DataSettings(
        name="language", root=work, tokenizer=path, train_files=names[:1], test_files=names[1:],
        block=size.block, batch_size=size.batch,
    )  # fmt: skip
    numbers = {
        "vocab": data.vocab, "positions": size.block, "dim": size.dim, "depth": size.depth,
        "heads": size.heads,
    }  # fmt: skip
    last = trained(
        models.build("gpt2", **numbers, seed=case.seed),
        data,
        settings,
        work / f"{case.arm}-seed{case.seed}",
        steps=size.steps,
        lr=size.lr,
        seed=case.seed,
        numbers=numbers,
        console=console,
    )
    return {
        "arm": case.arm,
        "seed": case.seed,
        "perplexity": last["perplexity"],
        "loss": last["loss"],
        "steps": last["step"],
        "text_tokens": len(data.train) * size.block,
        "seen_tokens": last["step"] * size.batch * size.block,
        "seconds": last["seconds"],
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as text: mean over the seeds and spread.

    >>> row = {"arm": "raw", "seed": 0, "perplexity": 41.5, "steps": 9, "text_tokens": 1000}
    >>> print(table([row]).splitlines()[1])
    raw             1,000     9   41.50   41.50-41.50    1
    """
    lines = [f"{'text':<10}{'tokens':>11}{'steps':>6}{'perplexity':>11}{'spread':>11}{'seeds':>6}"]
    for arm in ARMS:
        found = [row for row in rows if row["arm"] == arm]
        if found:
            values = [row["perplexity"] for row in found]
            spread = f"{min(values):.2f}-{max(values):.2f}"
            lines.append(
                f"{arm:<10}{found[0]['text_tokens']:>11,}{found[0]['steps']:>6}"
                f"{statistics.fmean(values):>8.2f}{spread:>14}{len(values):>5}"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing; return 0, 2 for a user's mistake, 130 or 143 when stopped."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    command = shlex.join(["python", "-m", _MODULE, *words])

    def job(console: Console) -> None:
        setup(DeviceSettings(isa="native"))  # no convolution anywhere
        names = ("dim", "depth", "heads", "vocab", "block", "batch", "steps", "seeds")
        size = changed_size(SIZES[options.size], {name: getattr(options, name) for name in names})
        rows = run(size, texts_of(options.text), options.work, options.output, command, console)
        console.print(table(rows), highlight=False)

    return call("cleaning_effect", command, options.work, job)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {_MODULE}",
        description="Perplexity of a GPT-2 after equal steps on a dirty text and the cleaned one.",
    )
    add = parser.add_argument
    add("--text", type=Path, nargs="+", required=True, help="UTF-8 files, or folders of .txt")
    add("--size", choices=list(SIZES), default="hour", help="default: hour, on two CPU cores")
    add("--output", type=Path, default=Path("results/cleaning_effect.json"))
    add("--work", type=Path, default=Path("runs/cleaning_effect"), help="texts and runs")
    add("--dim", type=int, help="channels of a token")
    add("--depth", type=int, help="blocks")
    add("--heads", type=int, help="attention heads")
    add("--vocab", type=int, help="tokens of the BPE")
    add("--block", type=int, help="tokens of a sample")
    add("--batch", type=int, help="samples a step")
    add("--steps", type=int)
    add("--seeds", nargs="+", type=int)
    return parser


if __name__ == "__main__":
    own_signals()
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the progress
    sys.exit(main())
