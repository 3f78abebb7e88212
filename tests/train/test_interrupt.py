import os
import signal
import subprocess
import sys

import pytest

from ms_eff.errors import SetupError
from ms_eff.train.interrupt import StopFlag, lock_folder


def test_a_second_run_in_one_folder_is_refused_until_the_first_is_gone(tmp_path):
    with lock_folder(tmp_path / "run"), pytest.raises(SetupError, match="another run"):
        lock_folder(tmp_path / "run").__enter__()
    with lock_folder(tmp_path / "run"):
        pass


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="cannot be written"), lock_folder(tmp_path / "file"):
        pass


def test_the_first_signal_is_noted_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopFlag() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == before  # a second one acts as usual
    assert signal.getsignal(signal.SIGTERM) == before


def test_ctrl_c_reaches_python_though_a_library_took_the_signal():
    code = """
import ctypes, os, signal, time
from ms_eff.train.interrupt import StopFlag, own_ctrl_c
own_ctrl_c()
with StopFlag() as stop:
    libc = ctypes.CDLL(None)
    libc.signal(signal.SIGINT, 0)  # what a C library may do: here, the default that kills
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(100):
        if stop.received: break
        time.sleep(0.02)
print(stop.received)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
