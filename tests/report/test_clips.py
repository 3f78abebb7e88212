from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from ms_eff.data import DataSettings, build
from ms_eff.report.clips import clip_parts, strip
from ms_eff.report.page import render
from tests.report.results import full

MOTION = DataSettings(name="motion_digits", image_size=8, frames=3)


def test_frames_are_drawn_as_they_were_before_normalising():
    data = build(MOTION)
    clips, _ = data.test.batch(np.array([5]))
    pixels = np.asarray(strip(clips[0], data))
    ink = clips[0] * data.std[0] + data.mean[0]  # 0 to 1
    assert pixels.shape == (8, 24, 3)
    for at in range(3):
        expected = 255 * ink[at, 0]
        np.testing.assert_allclose(pixels[:, 8 * at : 8 * at + 8, 0], expected, atol=1)


def test_page_holds_a_strip_a_class_and_needs_no_network():
    (part,) = clip_parts(MOTION)
    assert part.figure.count("<image") == part.figure.count("<text") == 4
    assert "right, 1 px" in part.figure
    encoded = re.findall(r"base64,([^\"]+)", part.figure)
    assert Image.open(io.BytesIO(base64.b64decode(encoded[0]))).size == (24, 8)
    assert "Sampled frames" in render(full(), [part])


def test_pictures_have_no_such_part_and_missing_data_do_not_stop_a_report(tmp_path):
    assert clip_parts(DataSettings(name="digits")) == []
    (part,) = clip_parts(DataSettings(name="motion_cifar10", root=tmp_path))
    assert part.figure is None
    assert "Not drawn: data.root" in part.text
