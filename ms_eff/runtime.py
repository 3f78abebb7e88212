"""The device, and all that has to be settled before MindSpore starts: the only file that knows it.

`prepare` settles what the environment decides, before MindSpore is imported; `setup` selects device
and mode, and joins a job that `ascend_scripts/train.sh` or `msrun` started.
"""

from __future__ import annotations

import errno
import os
import platform
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from ms_eff.errors import SetupError
from ms_eff.hccl import HcclSettings
from ms_eff.section import Section

__all__ = [
    "COMMAND_VARIABLE",
    "LOCAL_WORKERS_VARIABLE",
    "PULSE_VARIABLE",
    "DeviceSettings",
    "Worker",
    "close_gradients",
    "core_share",
    "cpu_has_avx512",
    "prepare",
    "prepare_cpu",
    "set_seed",
    "setup",
]

ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
# set by the launcher for its workers: the call that resumes the job; how many workers a host has;
# the file that a worker touches as it trains
COMMAND_VARIABLE = "MS_EFF_COMMAND"
LOCAL_WORKERS_VARIABLE = "MS_EFF_LOCAL_WORKERS"
PULSE_VARIABLE = "MS_EFF_PULSE"

_bound = False


class DeviceSettings(Section):
    """Where and how to run.

    Attributes:
        target: `auto` takes Ascend where there is one, else the CPU.
        mode: `graph` compiles (default); `pynative` is for debugging, with equal numbers.
        isa: CPU only. `avx2` avoids oneDNN's reference convolutions on AVX-512 machines, which are
            some 50 times slower; `native` is better for networks without convolutions; `auto` is
            `avx2` where the CPU has AVX-512. A value of ONEDNN_MAX_CPU_ISA in the environment wins.
        device_id: the card, where one process runs; workers of a job take theirs by rank.
        bind: CPU cores of each worker. `share` gives the workers of a host runs of cores of one
            length; `numa` leaves it to MindSpore, which on Ascend goes by the card's NUMA node.
        cache: folder that keeps the first training step a process compiles, for later processes
            with the same network, settings and code; null compiles anew. Not with `train.sink`.
        hccl: collective communication on Ascend.
    """

    target: Literal["auto", "ascend", "gpu", "cpu"] = "auto"
    mode: Literal["graph", "pynative"] = "graph"
    isa: Literal["auto", "avx2", "native"] = "auto"
    device_id: int | None = Field(None, ge=0)
    bind: Literal["none", "share", "numa"] = "none"
    cache: Path | None = None
    hccl: HcclSettings = HcclSettings()

    def environment(self) -> dict[str, str]:
        """Return the variables that have to be set before MindSpore starts, other than the ISA."""
        return self.hccl.environment()


@dataclass(frozen=True)
class Worker:
    """This process's place in a data-parallel job."""

    rank: int = 0
    size: int = 1


def cpu_has_avx512() -> bool:
    """Tell whether this CPU offers AVX-512 (Linux: /proc/cpuinfo; elsewhere: assumed not)."""
    info = Path("/proc/cpuinfo")
    return info.exists() and "avx512f" in info.read_text(errors="replace")


def prepare_cpu(isa: str = "auto") -> str:
    """Choose oneDNN's instruction set, unless the user has; return the value in force.

    Must run before the first MindSpore operator of the process.

    >>> prepare_cpu() in ("AVX2", "native") or "ONEDNN_MAX_CPU_ISA" in os.environ
    True
    """
    if ISA_VARIABLE not in os.environ and isa != "native" and (isa == "avx2" or cpu_has_avx512()):
        os.environ[ISA_VARIABLE] = "AVX2"
    return os.environ.get(ISA_VARIABLE, "native")


def prepare(device: DeviceSettings) -> None:
    """Settle kernels, variables and cores; best before MindSpore is imported, and called once."""
    prepare_cpu(device.isa)
    for name, value in device.environment().items():
        os.environ.setdefault(name, value)
    _take_share(device)


def core_share(cores: Sequence[int], place: int, workers: int) -> list[int]:
    """Return the cores of one worker: equal runs, in order; all where there are too few.

    >>> core_share([0, 1, 2, 3, 4], place=1, workers=2)
    [2, 3]
    >>> core_share([0], place=1, workers=2)
    [0]
    """
    each = len(cores) // workers
    return list(cores[place * each : (place + 1) * each]) if each else list(cores)


def _take_share(device: DeviceSettings) -> None:
    global _bound
    workers = int(os.environ.get(LOCAL_WORKERS_VARIABLE, os.environ.get("MS_WORKER_NUM", "1")))
    is_worker = os.environ.get("MS_ROLE") == "MS_WORKER"
    if _bound or device.bind != "share" or not is_worker or workers == 1:
        return
    place = int(os.environ.get("DEVICE_ID", "0"))
    os.sched_setaffinity(0, core_share(sorted(os.sched_getaffinity(0)), place, workers))
    _bound = True


def _bind_by_numa() -> None:
    global _bound
    if not _bound:
        import mindspore as ms

        ms.runtime.set_cpu_affinity(True)
        _bound = True


def setup(device: DeviceSettings) -> Worker:
    """Select device and mode, and join the job if a launcher started this process.

    Raises:
        SetupError: the wanted device is not there, or the scheduler's port is taken.
    """
    prepare(device)
    import mindspore as ms

    if device.device_id is not None and "MS_ROLE" in os.environ:
        raise SetupError(
            f"device.device_id = {device.device_id}: workers of a job take cards by their rank; "
            "leave it out"
        )
    target = _target(device.target)
    ms.set_context(mode=ms.GRAPH_MODE if device.mode == "graph" else ms.PYNATIVE_MODE)
    # the update is unrolled over the weights: a ResNet-50 with its 161 passes the default of 1000
    ms.set_recursion_limit(10_000)
    _select(target, device.device_id)
    if device.bind == "numa" and os.environ.get("MS_ROLE") != "MS_SCHED":
        _bind_by_numa()
    return _join_job()


def close_gradients() -> None:
    """End a gradient that an error left open earlier in this process.

    It would make the next one of second order, which several kernels of MindSpore 2.9 lack, and
    compiled steps fail with "adjoint is null".
    """
    from mindspore.graph.api import _pynative_executor

    _pynative_executor.clear_res()


def set_seed(seed: int) -> None:
    """Seed MindSpore's own generators (dropout); everything else takes its seed explicitly."""
    import mindspore as ms

    ms.set_seed(seed)
    ms.manual_seed(seed)


def _select(target: str, device_id: int | None) -> None:
    import mindspore as ms

    if device_id is None and ms.get_context("device_target") == target:
        return  # MindSpore refuses any choice, even the same one, once a kernel has run
    try:
        ms.set_device(target) if device_id is None else ms.set_device(target, device_id)
    except RuntimeError as error:
        raise SetupError(
            f"device.target: '{target.lower()}' cannot be chosen now: MindSpore has already run on "
            f"{ms.get_context('device_target')} in this process; set the device first"
        ) from error


def _target(wanted: str) -> str:
    import mindspore as ms

    names = {"ascend": "Ascend", "gpu": "GPU", "cpu": "CPU"}
    if wanted == "auto":
        return "Ascend" if _is_there("Ascend") else "CPU"
    if wanted != "cpu" and not _is_there(names[wanted]):
        raise SetupError(
            f"device.target: '{wanted}' asked for, but MindSpore {ms.__version__} finds none here; "
            "see `ms-eff doctor`, or use device.target=cpu"
        )
    return names[wanted]


def _is_there(target: str) -> bool:
    if target == "CPU":
        return True
    if target == "Ascend":  # asking MindSpore prints pages of warnings where there is no CANN
        return any(Path("/dev").glob("davinci[0-9]*"))
    import mindspore as ms

    return bool(ms.hal.is_available(target))


def _join_job() -> Worker:
    role = os.environ.get("MS_ROLE")
    if role is None:
        return Worker()
    if role == "MS_SCHED":
        host = os.environ.get("MS_SCHED_HOST", "127.0.0.1")
        _check_port(host, os.environ.get("MS_SCHED_PORT", "8118"))
    import mindspore as ms
    from mindspore.communication import get_group_size, get_rank, init

    with _ended_by_sigterm():
        init()
    worker = Worker(get_rank(), get_group_size())
    ms.set_auto_parallel_context(
        parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True, device_num=worker.size
    )
    return worker


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the process at once: there is nothing to save yet.

    MindSpore waits for the other workers outside of Python, where a handler would never be called.
    """
    before = signal.getsignal(signal.SIGTERM)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_port(host: str, port: str) -> None:
    """Refuse an address that the scheduler, which runs here, cannot listen on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise SetupError(
                    f"--master-addr (msrun's --master_addr): {host} is no address of this host, "
                    f"where the scheduler is to run ({error.strerror}); give host 0's"
                ) from error
            raise SetupError(
                f"--master-port (msrun's --master_port): port {port} of {host} cannot be used "
                f"({error.strerror}); choose a free one"
            ) from error


def describe_cpu() -> str:
    """Return the CPU's model name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
