from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from ms_eff.config import Config
from ms_eff.data import DataSettings, build
from ms_eff.data.motion import CLASSES, DIRECTIONS, SPEEDS, MotionSplit
from ms_eff.data.pictures import as_png
from ms_eff.errors import ConfigError
from ms_eff.inputs import check_inputs

KEY = (3, 1)
SIDE = 16


def digits(**args):
    return build(DataSettings(name="motion_digits", **{"frames": 6, "test_limit": 64, **args}))


def test_each_frame_is_the_one_before_moved_by_the_label_s_step():
    data = digits()
    clips, labels = data.test.batch(np.arange(64))
    assert clips.shape == (64, 6, 1, 32, 32)
    assert data.image_shape == (6, 1, 32, 32)
    assert len(data.classes) == 16
    for clip, label in zip(clips, labels, strict=True):
        down, right = np.multiply(DIRECTIONS[label // 2], SPEEDS[label % 2])
        for before, after in itertools.pairwise(clip):
            np.testing.assert_array_equal(after, np.roll(before, (down, right), (1, 2)))


def moving_dots(task: str, labels: np.ndarray, key=None, frames: int = 4) -> np.ndarray:
    """Where a single bright pixel stands in each frame of each clip: (N, T, 2)."""
    images = np.zeros((len(labels), 1, SIDE, SIDE), np.uint8)
    images[..., 0, 0] = 255
    split = MotionSplit(images, labels, task=task, frames=frames, mean=(0.5,), std=(0.25,))
    clips, found = split.batch(np.arange(len(labels)), key)
    np.testing.assert_array_equal(found, labels)
    flat = clips.reshape(len(labels), frames, SIDE**2)
    assert (np.sort(flat)[..., -2] < flat.max(-1)).all()
    return np.stack(np.divmod(flat.argmax(-1), SIDE), -1)


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("task", list(CLASSES))
def test_a_frame_holds_no_label(task, key):
    # of each label and at each t, the places of a picture fill the frame evenly: chi-square over
    # 16 fields has a mean of 15 and a deviation of 5.5
    labels = np.arange(400 * len(CLASSES[task]), dtype=np.int32) % len(CLASSES[task])
    fields = moving_dots(task, labels, key) // (SIDE // 4) @ (4, 1)  # (N, T)
    for label in range(len(CLASSES[task])):
        for t, found in enumerate(fields[labels == label].T):
            counts = np.bincount(found, minlength=16)
            assert ((counts - 25) ** 2 / 25).sum() < 15 + 5 * 5.5, (label, t, counts)


def test_both_orders_hold_the_same_frames():
    labels = np.zeros(64, np.int32)
    there, back = (moving_dots("reversal", labels + one, frames=5) for one in (0, 1))
    np.testing.assert_array_equal(back, there[:, ::-1])
    for places, faster in ((there, 1), (back, -1)):
        moved = np.diff(places, axis=1) % SIDE
        steps = np.minimum(moved, SIDE - moved).max(-1)  # (N, 4), pixels
        assert (np.diff(steps) * faster > 0).all()
    split = digits(task="reversal").test
    assert split.classes == CLASSES["reversal"]
    assert np.bincount(split.labels).tolist() == [32, 32]


def test_training_clips_start_elsewhere_each_epoch_and_test_clips_do_not():
    data = digits(train_limit=32)
    indices = np.arange(32)
    first, again, other = (data.train.batch(indices, key)[0] for key in (KEY, KEY, (3, 2)))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    part = data.train.batch(indices[7:9], KEY)[0]  # whatever the batch
    np.testing.assert_array_equal(part, first[7:9])
    tests = [data.test.batch(indices)[0] for _ in range(2)]
    np.testing.assert_array_equal(*tests)


def test_a_report_shows_the_middle_frame():
    data = digits(frames=5, train_limit=16)
    shown = data.show(2)
    frame = data.train.batch(np.array([2]))[0][0, 2]
    assert shown == {"png": as_png(frame, data.mean, data.std)}


def test_cifar10_moves_too(tmp_path: Path):
    rng = np.random.default_rng(0)
    for name, count in (("data_batch_1.bin", 40), ("test_batch.bin", 20)):
        records = rng.integers(0, 256, (count, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        records.tofile(tmp_path / name)
    data = build(DataSettings(name="motion_cifar10", root=tmp_path, frames=4))
    clips, _ = data.train.batch(np.arange(3), KEY)
    assert clips.shape == (3, 4, 3, 32, 32)
    assert len(data.train) == 40
    assert len(data.test) == 20


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match=r"data\.augment: 'flip' for motion_digits"):
        DataSettings(name="motion_digits", augment="flip")
    with pytest.raises(ValueError, match=r"data\.frames: digits takes no 'frames'"):
        DataSettings(name="digits", frames=4)
    with pytest.raises(ValueError, match=r"data\.workers: 0 is for videos"):
        DataSettings(name="digits", workers=0)


@pytest.mark.parametrize("key", ["pretrain", "train"])
def test_a_mirror_in_evaluation_is_refused_since_it_turns_the_label(key):
    blocks = {"train": {"epochs": 1}, key: {"epochs": 1, "mirror_test": True}}
    config = Config(model={"name": "r3d18"}, data={"name": "motion_digits"}, **blocks)
    with pytest.raises(ConfigError, match=rf"^{key}\.mirror_test: true: a mirror turns a motion"):
        check_inputs(config, build(config.data))
