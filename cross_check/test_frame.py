"""The frame itself: it sees a wrong number, and its files do what they say."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the twins are torch modules: pip install -e '.[cross-check]'")

from cross_check import __main__ as command
from cross_check import compare
from cross_check.bundle import Bundle, BundleError, Record, read, write
from cross_check.cases import CASES
from cross_check.record import origin, run
from cross_check.replay import replay
from cross_check.tolerances import tolerance

ROOT = Path(__file__).parent.parent
DENSE = next(case for case in CASES if case.name == "low-rank dense")


@pytest.fixture(scope="module")
def record() -> Record:
    return run(DENSE, "pynative")[0]


@pytest.fixture
def bundle(record, tmp_path) -> Path:
    path = tmp_path / "bundle.npz"
    write(path, Bundle(origin(), [record]))
    return path


@pytest.mark.parametrize(
    ("array", "quantity"),
    [
        ("forward", "forward"),
        ("training forward", "training forward"),
        ("gradient of input", "gradient of input"),
        ("gradient/first.weight", "gradients of weights"),
        ("after/last.bias", "update of weights"),
        ("losses", "loss curve"),
    ],
)
@pytest.mark.parametrize("wrong", [1.001, np.nan])
def test_one_wrong_number_fails(record, array, quantity, wrong) -> None:
    changed = record.arrays[array].copy()
    largest = np.unravel_index(np.abs(changed).argmax(), changed.shape)
    changed[largest] *= wrong
    doctored = dataclasses.replace(record, arrays=record.arrays | {array: changed})
    failed = [row for row in replay(doctored) if not row.passed]
    assert [row.quantity for row in failed] == [quantity]
    assert failed[0].worst == ("step 0" if array == "losses" else array.partition("/")[2])


def test_factors_of_another_matrix_fail(record) -> None:
    other = record.arrays["dense/weight"][::-1].copy()
    doctored = dataclasses.replace(record, arrays=record.arrays | {"dense/weight": other})
    assert [row.quantity for row in replay(doctored) if not row.passed] == ["factors"]


def test_difference_is_relative_to_the_largest_value(record) -> None:
    expected = {"a": np.array([0.0, -4.0]), "b": np.array([1e-9])}
    found = {"a": np.array([0.004, -4.0]), "b": np.array([2e-9])}
    row = compare.compare(record, "forward", found, expected, 1e-4)
    assert row.difference == pytest.approx(1e-3)
    assert row.worst == "a"  # b is zero beside a: measured against a thousandth of it


def test_half_precision_gradients_are_bounded_in_smooth_cases_only() -> None:
    assert tolerance("float16", "gradients of weights", smooth=False) is None
    assert tolerance("float16", "gradients of weights", smooth=True) is not None
    assert tolerance("float32", "gradients of weights", smooth=False) is not None


def test_a_case_may_bound_its_outputs_alone() -> None:
    assert tolerance("float32", "loss curve", smooth=True, outputs_only=True) is None
    assert tolerance("float32", "training forward", smooth=True, outputs_only=True) is not None


def test_bundle_comes_back_as_written(record, bundle) -> None:
    back = read(bundle)
    assert {"versions", "device", "date", "seed", "commit"} <= back.origin.keys()
    (found,) = back.records
    for field in dataclasses.fields(Record):
        if field.name != "arrays":
            assert getattr(found, field.name) == getattr(record, field.name)
    assert found.arrays.keys() == record.arrays.keys()
    for name, array in record.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)


_WITHOUT_MINDSPORE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("mindspore", "ms_eff"):
            raise ImportError(name)

sys.meta_path.insert(0, Absent())
from cross_check.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_replay_needs_no_mindspore(bundle, tmp_path) -> None:
    results = tmp_path / "new" / "results.json"
    call = [sys.executable, "-c", _WITHOUT_MINDSPORE, "replay", str(bundle), "--results", results]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "7 of 7 within tolerance" in done.stdout
    written = json.loads(results.read_text())
    assert written["sides"].keys() == {"mindspore", "torch"}
    assert [row["passed"] for row in written["rows"]] == [True] * 7


def test_failure_is_the_exit_code(record, tmp_path, capsys) -> None:
    wrong = dataclasses.replace(
        record, arrays=record.arrays | {"forward": record.arrays["forward"] + np.inf}
    )
    write(tmp_path / "b.npz", Bundle(origin(), [wrong]))
    results = tmp_path / "results.json"
    assert command.main(["replay", str(tmp_path / "b.npz"), "--results", str(results)]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert json.loads(results.read_text())["rows"][0]["difference"] is None


def test_missing_package_of_a_twin_skips_its_record(bundle, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cross_check.twins.lowrank", None)
    assert command.main(["replay", str(bundle)]) == 1
    assert "skipped: low-rank dense" in capsys.readouterr().out


def test_a_record_of_another_version_is_one_line(record, tmp_path, capsys) -> None:
    odd = dataclasses.replace(record, args={**record.args, "no_such": 1})
    write(tmp_path / "b.npz", Bundle(origin(), [odd]))
    assert command.main(["replay", str(tmp_path / "b.npz")]) == 2
    assert "does not fit the twin here" in capsys.readouterr().err.splitlines()[-1]


def test_a_type_that_the_device_cannot_compute_is_left_out_and_said(
    record, tmp_path, capsys, monkeypatch
) -> None:
    def refuse(case, mode, dtype):
        if dtype == "float16":
            raise TypeError("no kernel")
        return [record]

    monkeypatch.setattr("cross_check.record.run", refuse)
    monkeypatch.setattr(command, "RECIPES", [])
    both = dataclasses.replace(DENSE, dtypes=("float32", "float16"))
    monkeypatch.setattr(command, "CASES", [both])
    path = tmp_path / "b.npz"
    assert command.main(["record", str(path), "--mode", "pynative"]) == 1
    said = capsys.readouterr().out
    assert "skipped: low-rank dense: MindSpore cannot compute it in float16 on this device" in said
    assert len(read(path).records) == 1


def test_damaged_bundles_are_one_line(bundle) -> None:
    """Cut ends and flipped bits: an error of ours or whatever zip's checksums let through."""
    whole = np.frombuffer(bundle.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    complaints = []
    for trial in range(100):
        damaged = whole.copy()
        damaged[rng.integers(len(whole), size=2)] ^= np.uint8(1) << rng.integers(8)
        bundle.write_bytes(damaged[: rng.integers(len(whole)) if trial % 2 else None].tobytes())
        try:
            read(bundle)
        except BundleError as error:
            complaints.append(str(error))
    assert len(complaints) > 80
    assert all(str(bundle) in line and "\n" not in line for line in complaints)


def test_pickles_are_refused(tmp_path) -> None:
    np.savez(tmp_path / "b.npz", header=np.array([{"format": 1}], dtype=object))
    with pytest.raises(BundleError, match="not a bundle"):
        read(tmp_path / "b.npz")


@pytest.mark.parametrize("name", ["os:system", "..resnet:x", "resnet:nn", "resnet"])
def test_only_twins_are_called(record, name) -> None:
    with pytest.raises((BundleError, ImportError), match="twin"):
        replay(dataclasses.replace(record, twin=name))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["replay", "no.npz"], "no.npz: cannot be read"),
        (["run", "--case", "nonsense"], "no such case; known: resnet18"),
        (["record", "no/such/b.npz", "--case", "1x1", "--mode", "pynative"], "cannot be written"),
    ],
)
def test_user_errors_are_one_line(arguments, message, capsys) -> None:
    assert command.main(arguments) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_unwritable_results_are_named(bundle, tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    arguments = ["replay", str(bundle), "--results", str(tmp_path / "file" / "r.json")]
    assert command.main(arguments) == 2
    assert "r.json: cannot be written" in capsys.readouterr().err
