"""The command line: thin; most commands take a YAML config and `key=value` overrides."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from ms_eff import runtime
from ms_eff.cli_run import load, locked, opened
from ms_eff.cli_tools import clean, command_line, console, doctor, tokenizer
from ms_eff.errors import ConfigError, UserError, VerificationError, first_line, system_refusal
from ms_eff.train.interrupt import Interrupted, Stopped, own_signals

if TYPE_CHECKING:
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
    with opened(config, overrides, device, fresh) as experiment:
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

    found = load(config, overrides, device)
    if not isinstance(found, Config):
        with locked(found.output):
            runtime.prepare(found.device)
            from ms_eff.methods.progressive.family import Family

            family = Family(found, command_line(), fresh=fresh)
            rows = family.run()
            if family.worker.rank == 0:
                console().print(family_table(rows))
                _drawn(found.output)
        return
    with opened(config, overrides, device, fresh) as experiment:
        results = experiment.compress()
        for name, report in results.methods.items():
            console().print(layer_table(name, report))


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
    with opened(config, overrides, device) as experiment:
        for name, score in experiment.evaluate(checkpoint).items():
            found = score.measures()
            console().print(
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
        with opened(Path(overrides[0]), overrides[1:], device) as experiment:
            console().print(ranks_run(experiment), highlight=False, soft_wrap=True)
        return
    with opened(config, overrides, device) as experiment:
        console().print(bench_run(experiment))


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

    with opened(config, overrides, device) as experiment:
        for line in export_run(experiment, stage, aipp):
            console().print(line, highlight=False, soft_wrap=True)


@app.command()
def report(config: ConfigPath, overrides: Overrides = None) -> None:
    """Write the HTML report of a run and print its final table.

    Where patches of images skip blocks (skipvit), it shows which, on the run's test data. Of a
    family of language models (progressive): its members, size against perplexity, what they write.

    Example: ms-eff report configs/lowrank/demo_digits.yaml
    """
    from ms_eff.config import Config
    from ms_eff.report import terminal_table, write
    from ms_eff.report.clips import clip_parts
    from ms_eff.results import read_results

    settings = load(config, overrides, None)
    if not isinstance(settings, Config):
        from ms_eff.report.language_family import read_family
        from ms_eff.report.terminal import family_table

        console().print(family_table(read_family(settings.output)["rows"]))
        _drawn(settings.output, needed=True)
        return
    results = read_results(settings.output / "results.json")
    extra = _pictures(config, overrides) if "skipvit" in results.get("methods", {}) else []
    extra += clip_parts(settings.data)
    path = write(results, settings.output / "report.html", extra)
    console().print(terminal_table(results))
    console().print(f"report: {path}", highlight=False, soft_wrap=True)


for command in (clean, doctor, tokenizer):
    app.command()(command)


@app.command("list")
def list_() -> None:
    """List models, data sets, methods and the configs that come with the project."""
    from ms_eff.catalogue import catalogue

    console().print(catalogue())


def _drawn(output: Path, needed: bool = False) -> None:
    """Write a family's page and plot; what they lack is an error only where they were asked for."""
    from ms_eff.report.language_family import write_family

    try:
        page, plot = write_family(output)
    except UserError as error:
        if needed:
            raise
        console().print(f"no report: {' '.join(str(error).split())}", highlight=False)
        return
    console().print(f"report: {page}\nplot: {plot}", highlight=False, soft_wrap=True)


def _pictures(config: Path, overrides: list[str] | None) -> list[Part]:
    """Return parts that need the run's networks and data; what is missing is said in their place.

    Everything else in the report comes from the results alone.
    """
    from ms_eff.report.parts import Part

    try:
        with opened(config, overrides, None) as experiment:
            from ms_eff.measure import pictures_run

            return pictures_run(experiment)
    except UserError as error:
        return [Part("Patches that were kept", f"No pictures: {' '.join(str(error).split())}")]


def _again() -> str:
    """Return the command that goes on, which is not the one that forgets everything."""
    own = shlex.join(["ms-eff", *(word for word in sys.argv[1:] if word != "--fresh")])
    return os.environ.get(runtime.COMMAND_VARIABLE, own)  # a worker alone is not its job


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
