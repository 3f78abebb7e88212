import os
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
