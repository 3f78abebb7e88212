from __future__ import annotations

import numpy as np
import pytest

from ms_eff.bench.language_runs import _share, recipe, texts_of
from ms_eff.errors import DataError


def test_a_folder_stands_for_its_texts_by_name(tmp_path) -> None:
    for name in ("b.txt", "a.txt", "c.md"):
        (tmp_path / name).touch()
    found = texts_of([tmp_path / "c.md", tmp_path])
    assert [path.name for path in found] == ["c.md", "a.txt", "b.txt"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"--text .*empty: no \.txt file there"):
        texts_of([tmp_path / "empty"])


def test_every_epoch_sees_as_many_blocks_and_others() -> None:
    share, blocks = _share(3, 40), np.arange(100)
    first, second = share.subset(0, blocks), share.subset(1, blocks)
    assert len(first) == len(second) == share.subset_size(0, 100) == 40
    assert len(set(first.tolist())) == 40
    assert first.tolist() == share.subset(0, blocks).tolist() != second.tolist()
    assert _share(4, 40).subset(0, blocks).tolist() != first.tolist()


def test_the_network_is_judged_once_at_the_end() -> None:
    settings = recipe(1e-3, 4)
    assert settings.eval_every == settings.epochs == 4
    assert settings.warmup_epochs == pytest.approx(0.2)
