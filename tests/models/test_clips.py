from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from ms_eff.bench.modes import execution_mode
from ms_eff.errors import ConfigError
from ms_eff.models.clips import Block3d, ClipMean, Unfold, check_sizes, fold
from tests.tolerances import LAYER


def test_unfolded_frames_are_those_of_their_clip():
    clips = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 6), dtype=np.float32)
    unfold, mean = Unfold(3), ClipMean(3)
    with execution_mode(ms.PYNATIVE_MODE):
        flat = fold(ms.Tensor(clips))
        assert flat.shape == (6, 4, 5, 6)
        assert fold(flat) is flat
        apart = unfold(flat)
        np.testing.assert_array_equal(apart.asnumpy(), clips.transpose(0, 2, 1, 3, 4))
        whole = mean(apart).asnumpy()
        unfold.folded = mean.folded = True
        assert unfold(flat) is flat
        np.testing.assert_allclose(mean(flat).asnumpy(), whole, atol=LAYER)
    np.testing.assert_allclose(whole, clips.mean((1, 3, 4)), atol=LAYER)


def test_shortcut_is_a_projection_where_the_shape_changes():
    rng = np.random.default_rng(0)
    assert Block3d(rng, 4, 4).downsample is None
    for arguments in ((4, 6), (4, 4, 2)):
        block = Block3d(rng, *arguments)
        assert isinstance(block.downsample[0], nn.Conv3d)


def test_size_below_one_is_named():
    with pytest.raises(ConfigError, match="width: expected at least 1, got 0"):
        check_sizes(frames=4, width=0)
