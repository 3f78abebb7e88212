"""The folder of statistics: who may write into it, and what a stopped calibration leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ms_eff.errors import ConfigError, SetupError
from ms_eff.methods.lowrank.moments import Moments
from ms_eff.methods.progressive.calibration import calibrated
from ms_eff.methods.progressive.statistics import SavedMoments, StatisticsWriter
from ms_eff.models.parents import open_parent
from ms_eff.train.interrupt import lock_folder
from tests.methods.progressive.conftest import family_config

G = np.diag([1.0, 2.0, 3.0])


def test_statistics_begun_are_taken_up_by_the_same_settings_alone(tmp_path: Path) -> None:
    StatisticsWriter(tmp_path, {"tokens": 3}).add({"b": Moments(G, G)})  # and then it was stopped
    assert not SavedMoments.held_by(tmp_path)
    with pytest.raises(ConfigError, match=r"was stopped here \(tokens: 3 -> 4\); name another"):
        StatisticsWriter(tmp_path, {"tokens": 4})
    writer = StatisticsWriter(tmp_path, {"tokens": 3})
    writer.add({"a": Moments(2 * G, G)})
    saved = writer.finish(2)
    assert saved.tokens == 2
    np.testing.assert_array_equal(saved["b"].inputs, G)
    np.testing.assert_array_equal(saved["a"].inputs, 2 * G)


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"statistics = .*: holds other things \('thesis'\)"):
        StatisticsWriter(tmp_path, {"tokens": 3})
    assert [f.name for f in tmp_path.rglob("*")] == ["thesis", "chapter.tex"]
    (tmp_path / "begun.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"begun\.json is none of this version"):
        StatisticsWriter(tmp_path, {"tokens": 3})


def test_two_runs_do_not_write_into_one_folder(parent: Path, tmp_path: Path) -> None:
    settings = family_config(parent, tmp_path).calibration
    assert settings is not None
    model, folder = open_parent(parent), tmp_path / "shared"
    with (
        lock_folder(folder),
        pytest.raises(SetupError, match=r"calibration\.statistics = .*shared: another run is"),
    ):
        calibrated(model, model.tokenizer(), settings, folder)
    assert not folder.exists()  # nothing was written by either


@pytest.mark.gate
def test_a_calibration_goes_on_where_it_was_stopped(parent: Path, tmp_path: Path) -> None:
    settings = family_config(parent, tmp_path).calibration
    assert settings is not None
    model, told = open_parent(parent), []
    given = model, model.tokenizer(), settings
    whole = calibrated(*given, tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            calibrated(*given, tmp_path / "cut", stop)
    assert not SavedMoments.held_by(tmp_path / "cut")
    found = calibrated(*given, tmp_path / "cut", stop)  # nothing is left but the index
    assert told == [(1, 2), (2, 2)]  # of one block: forward, backward
    assert (found.owners, found.tokens) == (whole.owners, 160)
    for name in whole:
        np.testing.assert_array_equal(found.inputs(name), whole.inputs(name))
        np.testing.assert_array_equal(found.gradients(name), whole.gradients(name))
    names = {file.name for file in (tmp_path / "cut").iterdir()}
    assert names == {file.name for file in (tmp_path / "whole").iterdir()}  # nothing is left over
