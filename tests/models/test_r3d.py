from __future__ import annotations

import numpy as np
import pytest

from ms_eff import models
from ms_eff.bench.counts import count
from ms_eff.errors import ConfigError
from ms_eff.methods.spatiotemporal import apply_spatiotemporal


def test_r3d18_has_the_published_parameters():
    network = models.build("r3d18")
    assert sum(p.size for p in network.trainable_params()) == 33_371_472


def test_stages_stride_time_and_space_and_folded_frames_agree():
    network = models.build("r3d18", width=4, frames=8, image_size=32, num_classes=5)
    rows = {row.name: row for row in count(network, network.input_shape)}
    assert rows["stem.0"].output_shape == (1, 4, 8, 16, 16)
    assert rows["layer4.1.conv2.0"].output_shape == (1, 32, 1, 2, 2)
    flat, _, report = apply_spatiotemporal(network, "add", aligned=True)
    rows = {row.name: row for row in count(flat, network.input_shape)}
    assert rows["layer4.1.conv2.0.spatial.conv"].output_shape == (1, 32, 2, 2)
    assert np.prod(rows["fc"].output_shape) == 5
    assert len(report) == 20


def test_wrong_stem_is_named():
    with pytest.raises(ConfigError, match="stem: expected 'imagenet' or 'cifar', got 'x'"):
        models.build("r3d18", stem="x", width=4)
