"""The command line: thin; most commands take a YAML config and `key=value` overrides."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from ms_eff import runtime
from ms_eff.errors import ConfigError, UserError, VerificationError, first_line, system_refusal
from ms_eff.train.interrupt import (
    Interrupted,
    Stopped,
    lock_folder,
    own_signals,
    raising_stop,
)

if TYPE_CHECKING:
    from ms_eff.config import Config
    from ms_eff.experiment import Experiment
    from ms_eff.methods.progressive.settings import FamilyConfig
    from ms_eff.report.parts import Part

__all__ = ["app", "main"]

app = typer.Typer(
    name="ms-eff",
    help="Make neural networks cheaper to train and to run. Start with: ms-eff list",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigPath = Annotated[Path, typer.Argument(help="YAML config; `ms-eff list` shows some.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Settings to change: train.epochs=3 output=runs/a"
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, ascend, gpu or cpu; as device.target=...")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over, forgetting what output holds.")]


@app.command()
def train(
    config: ConfigPath,
    overrides: Overrides = None,
    device: DeviceOption = None,
    fresh: Fresh = False,
) -> None:
    """Train: dense first (`pretrain`), then the methods, then training with them.

    Called again on the same output folder it takes up where it stopped, or reuses what is done.

    Example: ms-eff train configs/lowrank/demo_digits.yaml train.epochs=2 output=runs/try
    """
    with _experiment(config, overrides, device, fresh) as experiment:
        experiment.train()


@app.command()
def compress(
    config: ConfigPath,
    overrides: Overrides = None,
    device: DeviceOption = None,
    fresh: Fresh = False,
) -> None:
    """Change a trained model by the config's methods, without training it afterwards.

    With the method `progressive`: make a family of language models from a pre-trained one, training
    between the steps where its settings say so.

    Example: ms-eff compress configs/lowrank/demo_digits.yaml methods.lowrank.params=0.3
    """
    from ms_eff.config import Config
    from ms_eff.report.terminal import family_table, layer_table

    found = _load(config, overrides, device)
    if not isinstance(found, Config):
        with _locked(found.output):
            runtime.prepare(found.device)
            from ms_eff.methods.progressive.family import Family

            family = Family(found, _command_line(), fresh=fresh)
            rows = family.run()
            if family.worker.rank == 0:
                _out().print(family_table(rows))
        return
    with _experiment(config, overrides, device, fresh) as experiment:
        results = experiment.compress()
        for name, report in results.methods.items():
            _out().print(layer_table(name, report))


@app.command("eval")
def evaluate(
    config: ConfigPath,
    overrides: Overrides = None,
    device: DeviceOption = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint folder; else every model of the run.")
    ] = None,
) -> None:
    """Evaluate the models of a run, or one checkpoint, on the config's test data.

    Example: ms-eff eval configs/lowrank/demo_digits.yaml --checkpoint runs/demo/models/dense
    """
    with _experiment(config, overrides, device) as experiment:
        for name, score in experiment.evaluate(checkpoint).items():
            found = score.measures()
            _out().print(
                f"{name}: {experiment.task.told(found)}, loss {found['loss']:.4f} "
                f"({score.samples} samples)",
                highlight=False,
            )


@app.command()
def bench(
    config: ConfigPath,
    overrides: Overrides = None,
    device: DeviceOption = None,
) -> None:
    """Measure latency and throughput of all models of a run, side by side in one process.

    `ms-eff bench ranks CONFIG` times the layers of its model at the ranks that a search would look
    at, and records them in latency_profile.json of the output folder, for `rank_search.timer`.

    Example: ms-eff bench configs/lowrank/demo_digits.yaml bench.batch_size=1
    """
    from ms_eff.measure import bench_run, ranks_run

    if str(config) == "ranks" and not config.exists():
        if not overrides:
            raise ConfigError(
                "bench ranks: a config is missing; call `ms-eff bench ranks CONFIG [KEY=VALUE]...`"
            )
        with _experiment(Path(overrides[0]), overrides[1:], device) as experiment:
            _out().print(ranks_run(experiment), highlight=False, soft_wrap=True)
        return
    with _experiment(config, overrides, device) as experiment:
        _out().print(bench_run(experiment))


@app.command()
def export(
    config: ConfigPath,
    overrides: Overrides = None,
    device: DeviceOption = None,
    stage: Annotated[
        list[str] | None, typer.Option(help="Which models; default: the last one made.")
    ] = None,
    aipp: Annotated[
        bool, typer.Option("--aipp", help="Also export/aipp.cfg: an Ascend 310 normalises itself.")
    ] = False,
) -> None:
    """Export to MindIR and ONNX, and verify each file against the live model.

    Example: ms-eff export configs/lowrank/demo_digits.yaml export.dynamic_batch=true
    """
    from ms_eff.measure import export_run

    with _experiment(config, overrides, device) as experiment:
        for line in export_run(experiment, stage, aipp):
            _out().print(line, highlight=False, soft_wrap=True)


@app.command()
def report(config: ConfigPath, overrides: Overrides = None) -> None:
    """Write the HTML report of a run and print its final table.

    Where patches of images skip blocks (skipvit), it shows which, on the run's test data.

    Example: ms-eff report configs/lowrank/demo_digits.yaml
    """
    from ms_eff.report import terminal_table, write
    from ms_eff.report.clips import clip_parts
    from ms_eff.results import read_results

    settings = _plain(_load(config, overrides, None), config)
    results = read_results(settings.output / "results.json")
    extra = _pictures(config, overrides) if "skipvit" in results.get("methods", {}) else []
    extra += clip_parts(settings.data)
    path = write(results, settings.output / "report.html", extra)
    _out().print(terminal_table(results))
    _out().print(f"report: {path}", highlight=False, soft_wrap=True)


@app.command()
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
        command=_command_line(),
        min_words=min_words,
        max_symbols=max_symbols,
        max_line=max_line,
        html=html,
        allowed_tags=tuple(allow_tag or ()),
        duplicates=duplicates,
    )
    _out().print(report_table(done))


@app.command()
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

        _out().print(checkup())
        return
    from ms_eff.deploy.graph_check import check_graph
    from ms_eff.report.graph_check import graph_tables

    report = check_graph(graph, target or "ascend310")
    if json:
        _out().print_json(data=report.to_dict())
    else:
        _out().print(graph_tables(report))
    raise typer.Exit(int(report.stopped))


@app.command()
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
    _out().print(f"{output}: {found.get_vocab_size()} tokens", highlight=False, soft_wrap=True)


@app.command("list")
def list_() -> None:
    """List models, data sets, methods and the configs that come with the project."""
    from ms_eff.catalogue import catalogue

    _out().print(catalogue())


def _pictures(config: Path, overrides: list[str] | None) -> list[Part]:
    """Return parts that need the run's networks and data; what is missing is said in their place.

    Everything else in the report comes from the results alone.
    """
    from ms_eff.report.parts import Part

    try:
        with _experiment(config, overrides, None) as experiment:
            from ms_eff.measure import pictures_run

            return pictures_run(experiment)
    except UserError as error:
        return [Part("Patches that were kept", f"No pictures: {' '.join(str(error).split())}")]


@contextmanager
def _experiment(
    path: Path, overrides: list[str] | None, device: str | None, fresh: bool = False
) -> Iterator[Experiment]:
    """An experiment that holds its output folder's lock for as long as the block runs."""
    config = _plain(_load(path, overrides, device), path)
    with _locked(config.output):
        runtime.prepare(config.device)  # before MindSpore is imported and counts the cores
        from ms_eff.experiment import Experiment

        yield Experiment(config, _command_line(), fresh=fresh)


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Hold an output folder; signals raise `Stopped` meanwhile."""
    # msrun starts several processes on one folder: each rank, and the scheduler, has its own lock
    rank = os.environ.get("RANK_ID", "0")
    who = "-scheduler" if os.environ.get("MS_ROLE") == "MS_SCHED" else f"-{rank}"
    with lock_folder(output, ".lock" if who == "-0" else f".lock{who}"), raising_stop():
        yield


def _load(path: Path, overrides: list[str] | None, device: str | None) -> Config | FamilyConfig:
    from ms_eff.config import load_any

    extra = [f"device.target={device}"] if device else []
    return load_any(path, [*(overrides or []), *extra])


def _plain(config: Config | FamilyConfig, path: Path) -> Config:
    from ms_eff.config import plain

    return plain(config, path)


def _command_line() -> str:
    """Return what the user called: a launcher's worker was called by the launcher."""
    own = shlex.join(["ms-eff", *sys.argv[1:]])
    return os.environ.get(runtime.COMMAND_VARIABLE, own)


def _again() -> str:
    """Return the command that goes on, which is not the one that forgets everything."""
    own = shlex.join(["ms-eff", *(word for word in sys.argv[1:] if word != "--fresh")])
    return os.environ.get(runtime.COMMAND_VARIABLE, own)  # a worker alone is not its job


def _out() -> Console:
    return Console()


def _fail(message: str, code: int) -> NoReturn:
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"ms-eff: {escape(message)}")
    raise SystemExit(code)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    own_signals()
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the one line
    try:
        app()
    except UserError as error:
        _fail(" ".join(str(error).split()), 2)
    except VerificationError as error:
        _fail(" ".join(str(error).split()), 1)
    except (Interrupted, Stopped) as stop:
        _fail(f"{stop}; resume with: {_again()}", stop.code)
    except Exception as error:
        if debug:
            traceback.print_exc()
        if refused := system_refusal(error):
            _fail(refused, 2)
        what = f"{type(error).__name__}: {first_line(error)}"
        _fail(f"internal error: {what} (run again with --debug for the traceback)", 1)
