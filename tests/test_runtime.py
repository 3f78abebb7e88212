import os
import signal
import socket
import subprocess
import sys

import mindspore as ms
import pytest

from ms_eff import runtime
from ms_eff.errors import SetupError
from ms_eff.runtime import DeviceSettings


def test_the_users_own_choice_of_kernels_stays(monkeypatch):
    monkeypatch.setenv(runtime.ISA_VARIABLE, "SSE41")
    assert runtime.prepare_cpu("avx2") == "SSE41"
    assert os.environ[runtime.ISA_VARIABLE] == "SSE41"


@pytest.mark.parametrize(
    ("isa", "avx512", "expected"),
    [("auto", True, "AVX2"), ("auto", False, "native"), ("avx2", False, "AVX2"),
     ("native", True, "native")],
)  # fmt: skip
def test_avx2_kernels_are_chosen_where_avx512_would_be_slow(monkeypatch, isa, avx512, expected):
    monkeypatch.delenv(runtime.ISA_VARIABLE, raising=False)
    monkeypatch.setattr(runtime, "cpu_has_avx512", lambda: avx512)
    assert runtime.prepare_cpu(isa) == expected
    assert os.environ.get(runtime.ISA_VARIABLE, "native") == expected
    monkeypatch.delenv(runtime.ISA_VARIABLE, raising=False)


@pytest.mark.parametrize("mode", ["graph", "pynative"])
def test_mode_is_set(mode):
    before = ms.get_context("mode")
    assert runtime.setup(DeviceSettings(target="cpu", mode=mode)) == runtime.Worker(0, 1)
    assert ms.get_context("mode") == (ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    ms.set_context(mode=before)


def test_a_device_that_is_not_there_is_said():
    with pytest.raises(SetupError, match=r"'ascend' asked for.*device\.target=cpu"):
        runtime.setup(DeviceSettings(target="ascend"))


def test_a_device_cannot_be_chosen_after_the_fact():
    ms.ops.ones((2,), ms.float32).asnumpy()
    with pytest.raises(SetupError, match="already run"):
        runtime.setup(DeviceSettings(target="cpu", device_id=0))


def test_hccl_settings_become_variables_and_the_users_own_win(monkeypatch):
    for name in ("HCCL_BUFFSIZE", "HCCL_EXEC_TIMEOUT", "HCCL_DETERMINISTIC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HCCL_EXEC_TIMEOUT", "60")
    hccl = {"buffer": 400, "exec_timeout": 3600, "deterministic": False}
    runtime.prepare(DeviceSettings(hccl=hccl))
    found = {k: v for k, v in os.environ.items() if k.startswith("HCCL_")}
    assert found["HCCL_BUFFSIZE"] == "400"
    assert found["HCCL_EXEC_TIMEOUT"] == "60"
    assert found["HCCL_DETERMINISTIC"] == "false"
    for name in ("HCCL_BUFFSIZE", "HCCL_DETERMINISTIC"):
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("cores", "workers", "shares"),
    [
        ([0, 1, 2, 3], 2, [[0, 1], [2, 3]]),
        ([4, 6, 8], 2, [[4], [6]]),
        ([5], 2, [[5], [5]]),
    ],
)
def test_workers_of_a_host_share_its_cores(cores, workers, shares):
    assert [runtime.core_share(cores, place, workers) for place in range(workers)] == shares


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core has nothing to share")
def test_a_worker_runs_on_its_share_of_the_cores():
    code = (
        "import os; from ms_eff import runtime; "
        "runtime.prepare(runtime.DeviceSettings(bind='share')); "
        "runtime.prepare(runtime.DeviceSettings(bind='share')); "
        "print(sorted(os.sched_getaffinity(0)))"
    )
    job = {"MS_ROLE": "MS_WORKER", "DEVICE_ID": "1", runtime.LOCAL_WORKERS_VARIABLE: "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **job}, capture_output=True, text=True
    )
    cores = sorted(os.sched_getaffinity(0))
    assert done.stdout.strip() == str(runtime.core_share(cores, 1, 2))


def test_workers_of_a_job_may_not_all_take_one_card(monkeypatch):
    monkeypatch.setenv("MS_ROLE", "MS_WORKER")
    with pytest.raises(SetupError, match=r"device\.device_id = 3: .*by their rank"):
        runtime.setup(DeviceSettings(target="cpu", device_id=3))


def test_a_taken_scheduler_port_is_one_clear_error(monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        monkeypatch.setenv("MS_ROLE", "MS_SCHED")
        monkeypatch.setenv("MS_SCHED_HOST", "127.0.0.1")
        monkeypatch.setenv("MS_SCHED_PORT", port)
        with pytest.raises(SetupError, match=f"port {port}.*choose a free one"):
            runtime.setup(DeviceSettings(target="cpu"))


def test_an_address_of_another_host_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("MS_ROLE", "MS_SCHED")
    monkeypatch.setenv("MS_SCHED_HOST", "192.0.2.1")  # kept for documentation (RFC 5737)
    with pytest.raises(SetupError, match=r"192\.0\.2\.1 is no address of this host"):
        runtime.setup(DeviceSettings(target="cpu"))


def test_sigterm_ends_a_worker_that_waits_for_the_others(monkeypatch):
    """MindSpore waits outside of Python, where no handler of Python's is called."""
    code = (
        "import ctypes, signal\n"
        "from ms_eff.runtime import _ended_by_sigterm\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('saved', flush=True))\n"
        "with _ended_by_sigterm():\n"
        "    pass\n"
        "signal.raise_signal(signal.SIGTERM)\n"
        "with _ended_by_sigterm():\n"
        "    print('waits', flush=True)\n"
        "    while True:\n"
        "        ctypes.CDLL(None).pause()\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert worker.stdout.readline() == "saved\n"
    assert worker.stdout.readline() == "waits\n"
    worker.terminate()
    worker.communicate(timeout=20)
    assert worker.returncode == -signal.SIGTERM


def test_public_names_load_lazily_and_choose_the_kernels_first():
    code = (
        "import os, ms_eff; ms_eff.build_model; "
        "from ms_eff import runtime; "
        "expected = 'AVX2' if runtime.cpu_has_avx512() else None; "
        "assert os.environ.get('ONEDNN_MAX_CPU_ISA') == expected, os.environ"
    )
    clean = {k: v for k, v in os.environ.items() if k != runtime.ISA_VARIABLE}
    subprocess.run([sys.executable, "-c", code], check=True, env=clean)
    import ms_eff

    for name in ms_eff.__all__:
        assert getattr(ms_eff, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ms_eff.nothing
