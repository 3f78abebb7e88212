from __future__ import annotations

import pytest

from ms_eff.errors import CheckpointError, DataError
from ms_eff.files import replacing


def test_failure_inside_leaves_the_old_content(tmp_path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def fail() -> None:
        with replacing(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_temporary_name_keeps_the_suffix(tmp_path) -> None:
    with replacing(tmp_path / "a.json") as temporary:
        assert temporary.suffix == ".json"
        assert temporary.parent == tmp_path
        temporary.write_text("{}")
    assert (tmp_path / "a.json").read_text() == "{}"


@pytest.mark.parametrize("error", [CheckpointError, DataError])
def test_missing_folder_is_the_callers_error(error, tmp_path) -> None:
    with (
        pytest.raises(error, match="cannot be written: No such file"),
        replacing(tmp_path / "no" / "a", error),
    ):
        pytest.fail("the block must not run")
