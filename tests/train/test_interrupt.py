import os
import signal
import subprocess
import sys

import pytest

from ms_eff.errors import SetupError
from ms_eff.train.interrupt import StopFlag, Stopped, lock_folder, raising_stop


def test_a_second_run_in_one_folder_is_refused_until_the_first_is_gone(tmp_path):
    with lock_folder(tmp_path / "run"), pytest.raises(SetupError, match="another run"):
        lock_folder(tmp_path / "run").__enter__()
    with lock_folder(tmp_path / "run"):
        pass


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="cannot be written"), lock_folder(tmp_path / "file"):
        pass


def test_the_lock_names_what_the_user_gave(tmp_path):
    folder, file = tmp_path / "runs", tmp_path / "file"
    file.touch()
    with lock_folder(folder):
        for key, said in (
            ("output=", f"output = {folder}: another run .* another output=FOLDER"),
            ("--work ", f"--work {folder}: another run .* another --work FOLDER"),
        ):
            with pytest.raises(SetupError, match=said):
                lock_folder(folder, key=key).__enter__()
    with pytest.raises(SetupError, match=f"--work {file}: cannot .* another --work FOLDER"):
        lock_folder(file, key="--work ").__enter__()


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
from ms_eff.train.interrupt import StopFlag, own_signals
own_signals()
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_outside_of_training_stops_the_block(number, code):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stop, raising_stop():
        os.kill(os.getpid(), number)
    assert stop.value.code == code
    assert signal.getsignal(number) == before


def test_a_stop_that_a_library_turned_into_its_own_error_is_still_a_stop():
    def compile_graph():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Stopped:
            raise RuntimeError("as MindSpore's compiler does") from None

    with pytest.raises(Stopped), raising_stop():
        compile_graph()
    with pytest.raises(RuntimeError, match="plain"), raising_stop():
        raise RuntimeError("plain")


def test_a_signal_before_anything_was_begun_ends_the_process_at_once():
    code = """
import os, signal, time
from ms_eff.train.interrupt import own_signals
own_signals()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (143, "ms-eff: stopped by SIGTERM\n")
