"""The reference: what the data pipeline itself computes from bytes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ms_eff.data.base import affine
from ms_eff.data.image_folder import MEAN, STD
from ms_eff.deploy.aipp import aipp_config, write_aipp
from ms_eff.errors import ConfigError, SetupError

GREY = ((0.305,), (0.376,))


def fields(text: str) -> dict[str, str]:
    assert text.startswith("aipp_op {\n")
    assert text.endswith("}\n")
    return dict(re.findall(r"^  (\w+): (\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize(("mean", "std"), [(MEAN, STD), GREY, ((0.0, 1.0, 0.5), (1.0, 0.1, 0.02))])
def test_aipp_formula_gives_what_the_data_pipeline_gives(mean, std):
    channels = len(mean)
    found = fields(aipp_config(mean, std, (channels, 4, 6)))
    scale, shift = affine(mean, std, 255.0)
    x = np.arange(256, dtype=np.float64)
    for c in range(channels):
        subtract = float(found[f"mean_chn_{c}"]) + float(found[f"min_chn_{c}"])
        out = (x - subtract) * float(found[f"var_reci_chn_{c}"])
        np.testing.assert_allclose(out, x * scale[c, 0, 0] + shift[c, 0, 0], rtol=1e-6, atol=1e-5)
    assert f"min_chn_{channels}" not in found


def test_layout_and_size_are_the_networks():
    found = fields(aipp_config(MEAN, STD, (3, 192, 224)))
    assert found["aipp_mode"] == "static"
    assert (found["src_image_size_h"], found["src_image_size_w"]) == ("192", "224")
    assert (found["input_format"], found["csc_switch"]) == ("RGB888_U8", "false")
    assert fields(aipp_config(*GREY, (1, 8, 8)))["input_format"] == "YUV400_U8"
    # a field of whole numbers: a mean in it would be cut
    assert {found[f"mean_chn_{c}"] for c in range(3)} == {"0"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MEAN, STD, (16, 3, 8, 8)), r"samples are \(16, 3, 8, 8\); AIPP takes pictures"),
        (((), (), (3, 128)), "AIPP takes pictures"),
        (((0.5,) * 4, (0.5,) * 4, (4, 8, 8)), "1 or 3 channels"),
        (((1.5,), (0.5,), (1, 8, 8)), r"data\.normalize\.mean: 1\.5"),
        (((0.5,), (1e-9,), (1, 8, 8)), r"data\.normalize\.std: 1e-09"),
    ],
)
def test_what_aipp_cannot_do_is_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        aipp_config(*arguments)


def test_file_is_whole_or_not_there(tmp_path):
    path = write_aipp(tmp_path / "new" / "aipp.cfg", MEAN, STD, (3, 8, 8))
    assert path.read_text() == aipp_config(MEAN, STD, (3, 8, 8))
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "folder", path / "aipp.cfg"):
        with pytest.raises(SetupError, match="cannot be written"):
            write_aipp(place, MEAN, STD, (3, 8, 8))
