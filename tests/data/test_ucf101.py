from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ms_eff.data import DataSettings, build
from ms_eff.errors import DataError

pytest.importorskip("cv2", reason="pip install 'ms_eff[video]'")

from tests.data.test_video import write_video


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\r\n2 Biking\r\n")
    names = [f"{kind}/v_{kind}_g0{g}_c01.avi" for kind in ("Archery", "Biking") for g in (1, 2)]
    for name in names:
        path = tmp_path / "UCF-101" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, count=4)
    (lists / "trainlist01.txt").write_text(f"{names[1]} 1\n{names[3]} 2\n")
    (lists / "testlist01.txt").write_text(f"{names[0]}\n{names[2]}\n")
    (lists / "trainlist02.txt").write_text(f"{names[0]} 1\n")
    (lists / "testlist02.txt").write_text("Archery/gone.avi\n")
    return tmp_path


def load(root: Path, fold: int = 1):
    return build(
        DataSettings(name="ucf101", root=root, frames=2, image_size=16, workers=0, fold=fold)
    )


def test_published_layout_works_as_it_is(root):
    data = load(root)
    assert data.classes == ("Archery", "Biking")
    assert [Path(path).name for path in data.train.paths] == [
        "v_Archery_g02_c01.avi", "v_Biking_g02_c01.avi"
    ]  # fmt: skip
    clips, labels = data.test.batch(np.arange(2))
    assert clips.shape == (2, 2, 3, 16, 16)
    assert labels.tolist() == [0, 1]


def test_what_is_missing_is_named(root):
    with pytest.raises(DataError, match=r"testlist02.*gone\.avi, found no such file"):
        load(root, 2)
    with pytest.raises(DataError, match=r"trainlist03\.txt: expected a list of UCF-101"):
        load(root, 3)
    train = root / "ucfTrainTestlist" / "trainlist01.txt"
    train.write_text(train.read_text().replace(" 2", " 1"))
    with pytest.raises(
        DataError, match=r"trainlist01\.txt: line 2: 'Biking/.* 1': .* gives Biking the number 2"
    ):
        load(root)
    (root / "ucfTrainTestlist" / "classInd.txt").write_text("1 Archery\n3 Biking\n")
    with pytest.raises(DataError, match="expected '2 CLASS', found '3 Biking'"):
        load(root)
    (root / "ucfTrainTestlist" / "classInd.txt").write_text("1 Archery\n")
    with pytest.raises(DataError, match="its class is not in classInd"):
        load(root)
