"""What a job consists of: its processes, their environment, and the lines that say so."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ms_eff.config import Config, load_any
from ms_eff.config_file import wished_output
from ms_eff.errors import ConfigError
from ms_eff.launch.arguments import PORT, LaunchOptions
from ms_eff.launch.marks import leave_mark
from ms_eff.launch.rank_table import check_rank_table
from ms_eff.runtime import (
    COMMAND_VARIABLE,
    LOCAL_WORKERS_VARIABLE,
    PULSE_VARIABLE,
    DeviceSettings,
)

__all__ = ["Job", "check_cards", "make_job", "tell_others"]

WORKER = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Job:
    """One call of `train.sh` on this host.

    Attributes:
        options: what the user asked for.
        command: of `ms-eff`: `train`, or `compress` for a family of language models.
        device: the config's device block.
        output: the config's output folder.
        port: of the scheduler.
        logs: folder of this call's logs.
        launcher: words that call the launcher again.
    """

    options: LaunchOptions
    command: str
    device: DeviceSettings
    output: Path
    port: int
    logs: Path
    launcher: tuple[str, ...]

    @property
    def distributed(self) -> bool:
        """Whether there are several workers, which need a scheduler to find each other."""
        return self.options.workers > 1

    @property
    def ranks(self) -> range:
        """The ranks that run on this host."""
        first = self.options.node_rank * self.options.nproc
        return range(first, first + self.options.nproc)

    @property
    def arguments(self) -> list[str]:
        """The words behind `ms-eff`."""
        o = self.options
        words = [self.command, str(o.config), *o.overrides]
        words += [f"output={o.output}"] if o.output else []
        words += ["--device", o.device] if o.device else []
        return words + (["--fresh"] if o.resume == "never" else [])

    @property
    def process(self) -> list[str]:
        """The words that start one worker, or the scheduler."""
        return [sys.executable, "-P", str(WORKER), *self.arguments]

    def log(self, name: str) -> Path:
        """Return the log of `rank_3` or `scheduler`."""
        return self.logs / f"{name}.log"

    def pulse(self, rank: int) -> Path:
        """Return the file that a worker touches as it trains, from whatever folder."""
        return self.logs.absolute() / f".rank_{rank}.pulse"

    def environment(self) -> dict[str, str]:
        """Return what is set for every process of this host, besides what it inherits."""
        o = self.options
        inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        path = [str(ROOT), *(folder for folder in inherited if folder not in ("", str(ROOT)))]
        found = {"PYTHONPATH": os.pathsep.join(path), COMMAND_VARIABLE: self.resume_line}
        found[LOCAL_WORKERS_VARIABLE] = str(o.nproc)
        if self.distributed:
            found |= {
                "MS_WORKER_NUM": str(o.workers),
                "MS_SCHED_HOST": o.master_addr,
                "MS_SCHED_PORT": str(self.port),
                "MS_TOPO_TIMEOUT": str(o.timeout),
                "RANK_SIZE": str(o.workers),
            }
        if o.rank_table:
            found["RANK_TABLE_FILE"] = str(o.rank_table.resolve())
        own = self.device.environment()
        return found | {name: os.environ.get(name, value) for name, value in own.items()}

    def of_worker(self, rank: int) -> dict[str, str]:
        """Return what is set for one worker alone."""
        pulse = {PULSE_VARIABLE: str(self.pulse(rank))}
        if not self.distributed:
            return pulse
        local = str(rank - self.ranks.start)
        return pulse | {
            "MS_ROLE": "MS_WORKER",
            "MS_NODE_ID": str(rank),
            "RANK_ID": str(rank),
            "DEVICE_ID": local,
        }

    def of_scheduler(self) -> dict[str, str]:
        """Return what is set for the scheduler alone."""
        return {"MS_ROLE": "MS_SCHED", "RANK_ID": "0"}

    @property
    def has_scheduler(self) -> bool:
        """Whether the scheduler runs on this host."""
        return self.distributed and self.options.node_rank == 0

    @property
    def msrun_line(self) -> str:
        """The same job by MindSpore's own launcher; for one worker, the plain command."""
        o = self.options
        if not self.distributed:
            return shlex.join(["ms-eff", *self.arguments])
        words = [
            *("msrun", f"--worker_num={o.workers}", f"--local_worker_num={o.nproc}"),
            *(f"--node_rank={o.node_rank}", f"--master_addr={o.master_addr}"),
            *(f"--master_port={self.port}", f"--cluster_time_out={o.timeout}"),
            *(f"--log_dir={self.logs}", "--join=True"),
        ]
        words += [f"--rank_table_file={o.rank_table.resolve()}"] if o.rank_table else []
        return shlex.join([*words, str(WORKER), *self.arguments])

    @property
    def resume_line(self) -> str:
        """The command that goes on with this job on this host, from any folder.

        It goes back to this one first: the config may hold paths that start from here, too.
        """
        o = self.options
        words = [*self.launcher, "--config", str(o.config), "--nproc", str(o.nproc)]
        if o.nnodes > 1:
            words += ["--nnodes", str(o.nnodes), "--node-rank", str(o.node_rank)]
            words += ["--master-addr", o.master_addr]
        given: dict[str, object] = {
            "--master-port": o.master_port,
            "--rank-table": o.rank_table,
            "--device": o.device,
            "--output": o.output,
            "--log-dir": o.log_dir,
            # their defaults are left out
            "--grace": None if o.grace == LaunchOptions.grace else o.grace,
            "--timeout": None if o.timeout == LaunchOptions.timeout else o.timeout,
            "--hang": None if o.hang == LaunchOptions.hang else o.hang,
        }
        for flag, value in given.items():
            words += [flag, str(value)] if value is not None else []
        words += ["--resume", "auto"]
        words += ["--", *o.overrides] if o.overrides else []
        return f"cd {shlex.quote(os.getcwd())} && {shlex.join(words)}"

    def describe(self) -> str:
        """Return what is started and what is set, as lines of a shell script."""
        lines = [f"cd {shlex.quote(os.getcwd())}", "# set for every worker:"]
        lines += [f"export {name}={shlex.quote(v)}" for name, v in self.environment().items()]
        if self.distributed:
            last = self.ranks.stop - 1
            lines.append(
                f"# worker by worker: MS_ROLE=MS_WORKER, MS_NODE_ID=RANK_ID={self.ranks.start}"
                f"..{last}, DEVICE_ID=0..{self.options.nproc - 1}"
            )
            where = "on this host" if self.has_scheduler else f"on {self.options.master_addr}"
            lines.append(f"# scheduler (MS_ROLE=MS_SCHED): {where}, port {self.port}")
        cores = len(os.sched_getaffinity(0))
        if self.device.target == "cpu" and self.options.nproc > cores:
            lines.append(f"# {self.options.nproc} workers share {cores} cores")
        lines += ["# the same job without this script's watch over it:", self.msrun_line]
        lines += [f"# logs: {self.log('rank_R')}", f"# resume: {self.resume_line}"]
        return "\n".join(lines)


def make_job(options: LaunchOptions, launcher: tuple[str, ...]) -> Job:
    """Check config and rank table and settle what the user left open.

    Raises:
        ConfigError: the config or the rank table is wrong.
    """
    extra = [f"output={options.output}"] if options.output else []
    extra += [f"device.target={options.device}"] if options.device else []
    config = load_any(options.config, [*options.overrides, *extra])
    check_cards(options.nproc, config.device.target)
    if options.rank_table:
        check_rank_table(options.rank_table, options.nnodes, options.nproc)
    port = options.master_port or (PORT if options.nnodes > 1 else _free_port())
    now = time.strftime("%Y%m%d-%H%M%S")
    return Job(
        options,
        "train" if isinstance(config, Config) else "compress",
        config.device,
        config.output,
        port,
        options.log_dir or config.output / "logs" / now,
        launcher,
    )


def check_cards(nproc: int, target: str, devices: Path = Path("/dev")) -> None:
    """Refuse more workers than this host has cards; where none is found, the workers say so.

    Args:
        nproc: workers on this host.
        target: `device.target` of the config.
        devices: where the driver lists the cards.

    Raises:
        ConfigError: with the number of cards.
    """
    cards = len(list(devices.glob("davinci[0-9]*")))
    if target in ("auto", "ascend") and 0 < cards < nproc:
        raise ConfigError(f"--nproc {nproc}: this host has {cards} card(s), one for each worker")


def tell_others(options: LaunchOptions, what: str) -> None:
    """Tell the other hosts that this one cannot begin, if it is known where the job's output is."""
    extra = [f"output={options.output}"] if options.output else []
    folder = wished_output(options.config, [*options.overrides, *extra])
    if options.nnodes > 1 and folder is not None:
        leave_mark(folder, options.node_rank, what)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
