"""Block by block, against statistics of a model whose earlier blocks are truncated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ms_eff.bench.rivals.in_order import decompose_in_order
from ms_eff.errors import ConfigError
from ms_eff.methods.progressive.calibration import calibrated, calibration_windows
from ms_eff.methods.progressive.compressed import Compressed
from ms_eff.methods.progressive.core import block_shapes, uniform_ranks
from ms_eff.methods.progressive.settings import CalibrationSettings
from ms_eff.methods.progressive.truncate import Whitening, decompose
from ms_eff.models.parents import load_tokenizer, open_parent
from tests.methods.progressive.conftest import parent
from tests.models.llamas import save_hf

__all__ = ["parent"]  # the fixture


@pytest.mark.gate
def test_each_block_is_truncated_by_what_the_truncated_ones_feed_it(
    parent: Path, tmp_path: Path
) -> None:
    save_hf(tmp_path / "two", num_hidden_layers=2, initializer_range=0.2)
    model, tokenizer = open_parent(tmp_path / "two"), load_tokenizer(parent / "tokenizer.json")
    text = CalibrationSettings(files=(parent / "text.txt",), tokens=160, window=16)
    rows = calibration_windows(model, tokenizer, text)
    shapes = block_shapes(model.shape)
    ranks = uniform_ranks(shapes, 2.0)
    told: list[int] = []
    found = decompose_in_order(model, rows, ranks, tmp_path / "found", told.append)
    assert told == [1, 2]

    def product(factors, name: str) -> np.ndarray:
        first, last = factors.pair(name, ranks[name])
        return last @ first

    plain = calibrated(model, tokenizer, text, tmp_path / "s0")
    once = decompose(model, shapes, Whitening("activation", plain), tmp_path / "f0")
    first_block = {name: ranks[name] if ".0." in name else None for name in shapes}
    half = Compressed(model, once, first_block, "half")
    fed = calibrated(half, tokenizer, text, tmp_path / "s1")
    after = decompose(model, shapes, Whitening("activation", fed), tmp_path / "f1")
    for name in shapes:
        expected = product(once if ".0." in name else after, name)
        np.testing.assert_allclose(product(found, name), expected, atol=2e-4, err_msg=name)
    moved = [np.abs(product(once, n) - product(found, n)).max() for n in shapes if ".1." in n]
    assert min(moved) > 1e-3

    (last,) = [name for name in shapes if name.endswith("1.mlp.down_proj")]
    kept = product(found, last)
    found.file(last).unlink()  # stopped before its last matrix
    again = decompose_in_order(model, rows, ranks, tmp_path / "found")
    np.testing.assert_allclose(product(again, last), kept, atol=1e-5)
    with pytest.raises(ConfigError, match="made from something else"):
        decompose_in_order(model, rows[:-1], ranks, tmp_path / "found")
