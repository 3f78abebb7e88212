"""The flags of `train.sh`: named ones only, checked before anything starts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NoReturn

from ms_eff.errors import ConfigError, nearest

__all__ = ["LaunchOptions", "parse", "usage"]

DEVICES = ("auto", "ascend", "gpu", "cpu")
PORT = 8118  # msrun's own
_EXAMPLES = """\
one card    train.sh --config C
one host    train.sh --config C --nproc 8
two hosts   train.sh --config C --nproc 8 --nnodes 2 --node-rank 0 --master-addr 10.0.0.1
            train.sh --config C --nproc 8 --nnodes 2 --node-rank 1 --master-addr 10.0.0.1
on a CPU    train.sh --config C --nproc 2 --device cpu -- train.epochs=1

A job takes up where it stopped. Ctrl-C or SIGTERM: all workers finish the step, the first saves,
and the command that resumes is printed. Exit codes: 0 done, 1 a rank failed, 2 a mistake in the
call or the config, 130 and 143 stopped by a signal."""


@dataclass(frozen=True)
class LaunchOptions:
    """What the user asked for.

    Attributes:
        config: YAML file.
        nproc: workers on this host.
        nnodes: hosts; each has `nproc` workers.
        node_rank: this host's place, from 0.
        master_addr: address of host 0.
        master_port: of its scheduler; None: a free one (one host only).
        rank_table: JSON file of all devices, or None.
        resume: `auto` goes on from what the output folder holds, `never` forgets it.
        device: overrides `device.target`.
        output: overrides `output`.
        log_dir: None: a folder of this call in `logs` of the output.
        grace: seconds that workers have for finishing the step and saving when asked to stop.
        timeout: seconds until all workers must have found each other.
        hang: seconds in which a worker in training has to finish a step; 0: however long it takes.
        dry_run: print what would be done.
        overrides: `key=value` settings.
    """

    config: Path
    nproc: int = 1
    nnodes: int = 1
    node_rank: int = 0
    master_addr: str = "127.0.0.1"
    master_port: int | None = None
    rank_table: Path | None = None
    resume: str = "auto"
    device: str | None = None
    output: str | None = None
    log_dir: Path | None = None
    grace: int = 120
    timeout: int = 600
    hang: int = 1800
    dry_run: bool = False
    overrides: tuple[str, ...] = ()

    @property
    def workers(self) -> int:
        """All workers of the job."""
        return self.nproc * self.nnodes

    def __post_init__(self) -> None:
        if self.node_rank >= self.nnodes:
            raise ConfigError(
                f"--node-rank {self.node_rank}: {self.nnodes} host(s) have the ranks 0 to "
                f"{self.nnodes - 1}; give --nnodes, or a lower rank"
            )
        for override in self.overrides:
            if "=" not in override.lstrip("="):
                raise ConfigError(f"'{override}' after --: expected key=value, as train.epochs=3")


def parse(words: Sequence[str]) -> LaunchOptions:
    """Return the options that the words of a command line say.

    Raises:
        ConfigError: an unknown flag, a word without a flag, or a value out of range.

    >>> parse(["--config", "a.yaml", "--nproc", "2", "--", "seed=1"]).overrides
    ('seed=1',)
    >>> parse(["--config", "a.yaml", "--nprocs", "2"])
    Traceback (most recent call last):
    ms_eff.errors.ConfigError: unknown flag '--nprocs' (did you mean '--nproc'?); see --help
    """
    flags, overrides = list(words), []
    if "--" in flags:
        at = flags.index("--")
        flags, overrides = flags[:at], flags[at + 1 :]
    parser = _parser()
    found, unknown = parser.parse_known_args(flags)
    if unknown:
        word = unknown[0].partition("=")[0]
        if word.startswith("-"):
            known = [name for action in parser._actions for name in action.option_strings]
            raise ConfigError(f"unknown flag '{word}'{nearest(word, known)}; see --help")
        remedy = f"-- {word}=..." if "=" in unknown[0] else f"--config {word}"
        raise ConfigError(f"'{unknown[0]}' stands without a flag; write {remedy}")
    _check_hosts(flags, found)
    names = {field.name for field in fields(LaunchOptions)}
    values = {name: value for name, value in vars(found).items() if name in names}
    return LaunchOptions(**values, overrides=tuple(overrides))


def usage() -> str:
    """Return the help text."""
    return _parser().format_help()


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are ours: one line, no usage before it."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message.removeprefix('argument ')}; see --help")


def _parser() -> _Parser:
    parser = _Parser(
        prog="train.sh",
        usage="train.sh --config FILE [--nproc N] [--device ascend|cpu] [...] [-- KEY=VALUE ...]",
        description="Train on one card, one host or many hosts; watch the workers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    add = parser.add_argument
    add("--config", type=Path, required=True, metavar="FILE", help="YAML config")
    add("--nproc", type=_at_least(1), default=1, metavar="N", help="workers on this host (1)")
    add("--nnodes", type=_at_least(1), default=1, metavar="N", help="hosts (1)")
    add("--node-rank", type=_at_least(0), default=0, metavar="R", help="this host's place, from 0")
    add("--master-addr", default="127.0.0.1", metavar="A", help="address of host 0")
    add("--master-port", type=_port, metavar="P", help=f"its port ({PORT}; one host: a free one)")
    add("--rank-table", type=Path, metavar="FILE", help="JSON table of all devices, for HCCL")
    add("--resume", choices=("auto", "never"), default="auto", help="never: start over (auto)")
    add("--device", choices=DEVICES, help="overrides device.target of the config")
    add("--output", metavar="DIR", help="overrides output of the config; shared by all hosts")
    add("--log-dir", type=Path, metavar="DIR", help="logs, a file a rank (output/logs/TIME)")
    add("--grace", type=_at_least(1), default=120, metavar="S", help="seconds to save in (120)")
    add("--timeout", type=_at_least(1), default=600, metavar="S", help="to find each other (600)")
    add(
        "--hang",
        type=_at_least(0),
        default=1800,
        metavar="S",
        help="without a step, the job is ended (1800); 0: never",
    )
    add("--dry-run", action="store_true", help="print what would be started, and its environment")
    add("--help", "-h", action="store_true", help="this text")
    return parser


def _at_least(lowest: int) -> type[int]:
    def number(text: str) -> int:
        value = int(text)
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{value}: it should be {lowest} or more")
        return value

    number.__name__ = "int"  # what argparse calls a value that is none
    return number  # type: ignore[return-value]  # argparse takes any callable


def _port(text: str) -> int:
    value = int(text)
    if not 1024 <= value <= 65_535:
        raise argparse.ArgumentTypeError(f"{value}: it should be 1024 to 65535")
    return value


def _check_hosts(flags: Sequence[str], found: argparse.Namespace) -> None:
    """Several hosts cannot guess where the first is, nor which they are."""
    given = {flag.partition("=")[0] for flag in flags}
    missing = [flag for flag in ("--node-rank", "--master-addr") if flag not in given]
    if found.nnodes > 1 and missing:
        raise ConfigError(f"--nnodes {found.nnodes} needs {' and '.join(missing)} on every host")
