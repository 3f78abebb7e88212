from __future__ import annotations

import os

import pytest

from ms_eff.bench.child import measured_apart
from ms_eff.errors import VerificationError


def test_the_last_line_of_json_comes_back(tmp_path) -> None:
    (tmp_path / "say.py").write_text(
        "import json, sys\nprint('x')\nprint(json.dumps(sys.argv[1:]))"
    )
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert measured_apart("a", "say", ["b", "c"], variables) == ["b", "c"]


def test_a_failure_is_named_by_its_last_line(tmp_path) -> None:
    (tmp_path / "fail.py").write_text("raise ValueError('no such thing')")
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with pytest.raises(VerificationError, match="it: could not be measured: ValueError: no such"):
        measured_apart("it", "fail", [], variables)


def test_what_c_alone_holds_does_not_reach_the_child(tmp_path, monkeypatch) -> None:
    (tmp_path / "say.py").write_text("import json, os\nprint(json.dumps(os.getenv('BY_C_ALONE')))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    os.putenv("BY_C_ALONE", "1")  # as MindSpore's import does; os.environ does not have it
    try:
        assert measured_apart("a", "say", []) is None
    finally:
        os.unsetenv("BY_C_ALONE")
