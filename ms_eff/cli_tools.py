"""Commands that need no config: cleaning text, looking at a machine or a graph, a tokenizer."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ms_eff import runtime
from ms_eff.errors import ConfigError

__all__ = ["clean", "command_line", "console", "doctor", "tokenizer"]


def console() -> Console:
    """Return where a command's output goes, as it is at this moment."""
    return Console()


def command_line() -> str:
    """Return what the user called: a launcher's worker was called by the launcher."""
    own = shlex.join(["ms-eff", *sys.argv[1:]])
    return os.environ.get(runtime.COMMAND_VARIABLE, own)


def clean(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN",
            help="Files, folders of files, or - for standard input; gzip is unpacked.",
        ),
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="File to write; packed if it ends in .gz.")
    ],
    min_words: Annotated[int, typer.Option(help="Drop lines of fewer words; 0: keep all.")] = 5,
    max_symbols: Annotated[
        float,
        typer.Option(help="Drop lines with a larger share of symbols in them; 1: keep all."),
    ] = 0.1,
    max_line: Annotated[int, typer.Option(help="Drop lines of more bytes.")] = 2**20,
    html: Annotated[bool, typer.Option(help="Drop lines with HTML tags.")] = True,
    allow_tag: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A tag that is none, as unk; give it again for more."),
    ] = None,
    duplicates: Annotated[
        bool, typer.Option(help="Drop lines that are like an earlier one.")
    ] = True,
    workers: Annotated[
        int | None, typer.Option(help="Processes; default: as many as cores.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, forgetting what a stopped call has done.")
    ] = False,
) -> None:
    """Clean a text of one sample a line, of any size, as for pre-training a language model.

    A line is dropped for the first that holds: longer than --max-line, no valid UTF-8, HTML, fewer
    than --min-words words, too many characters that are no letters, digits or whitespace, or a
    duplicate: the same length without symbols, the same first four and last four words as a line
    that was kept. All others are written as they were, in order.

    OUT.report.json counts the reasons. Called again after Ctrl-C, SIGTERM or SIGKILL, the same
    command goes on where it stopped.

    Example: ms-eff clean raw.txt more/ clean.txt --min-words 8
    """
    from ms_eff.cleaning.clean import clean_text
    from ms_eff.cleaning.report import report_table

    done = clean_text(
        inputs,
        output,
        workers=workers,
        overwrite=overwrite,
        fresh=fresh,
        command=command_line(),
        min_words=min_words,
        max_symbols=max_symbols,
        max_line=max_line,
        html=html,
        allowed_tags=tuple(allow_tag or ()),
        duplicates=duplicates,
    )
    console().print(report_table(done))


def doctor(
    graph: Annotated[
        Path | None, typer.Option(help="An exported .mindir or .onnx to look into instead.")
    ] = None,
    target: Annotated[str, typer.Option(help="ascend310 or ascend310p, with --graph.")] = "",
    json: Annotated[bool, typer.Option("--json", help="As JSON, with --graph.")] = False,
) -> None:
    """Show what this machine has, what ms-eff wants, and how to get what is missing.

    With --graph: list every operator of an exported network with its documented support, and what
    would stop its conversion for an Ascend 310; exit code 1 if anything does.

    Example: ms-eff doctor --graph runs/demo/export/fine-tuned.mindir --target ascend310
    """
    if graph is None:
        if target or json:
            raise ConfigError("doctor: --target and --json go with --graph FILE")
        from ms_eff.doctor import checkup

        console().print(checkup())
        return
    from ms_eff.deploy.graph_check import check_graph
    from ms_eff.report.graph_check import graph_tables

    report = check_graph(graph, target or "ascend310")
    if json:
        console().print_json(data=report.to_dict())
    else:
        console().print(graph_tables(report))
    raise typer.Exit(int(report.stopped))


def tokenizer(
    output: Annotated[Path, typer.Argument(help="The tokenizer.json to write.")],
    files: Annotated[list[Path], typer.Argument(help="UTF-8 text files.")],
    vocab: Annotated[int, typer.Option(help="Number of tokens, 256 single bytes included.")] = 8192,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUTPUT.")] = False,
) -> None:
    """Train a byte-level BPE tokenizer, as GPT-2 has it, on text files.

    Example: ms-eff tokenizer runs/gpt2/tokenizer.json data/text/*.txt --vocab 4096
    """
    from ms_eff.data.bpe import train_bpe

    found = train_bpe(files, vocab, output, overwrite=overwrite)
    console().print(f"{output}: {found.get_vocab_size()} tokens", highlight=False, soft_wrap=True)
