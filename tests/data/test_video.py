from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from ms_eff.data import DataSettings, build
from ms_eff.data.clip_files import ClipPlan, read_clip, segment_frames
from ms_eff.data.image_folder import MEAN, STD
from ms_eff.data.pipeline import batches
from ms_eff.data.randomness import Stream, generator
from ms_eff.errors import DataError

cv2 = pytest.importorskip("cv2", reason="pip install 'ms_eff[video]'")

KEY = (1, 2)
SIZE, COUNT, STEP = 16, 12, 15


def write_video(path: Path, base: int = 0, count: int = COUNT) -> None:
    """Frames of 24 x 20, each of one grey that tells its number; the left edge is darker."""
    code = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, (24, 20))
    for at in range(count):
        writer.write(frame(base, at))
    writer.release()


def frame(base: int, at: int) -> np.ndarray:
    pixels = np.full((20, 24, 3), base + STEP * at, np.uint8)
    pixels[:, :12] = pixels[:, :12] // 2
    return pixels


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for part, count in (("train", 3), ("val", 2)):
        for base, name in enumerate(("run", "walk")):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                write_video(root / part / name / f"{index}{('.avi', '.mp4')[index % 2]}", 10 * base)
    folder = root / "train" / "walk" / "frames"
    folder.mkdir()
    for at in range(COUNT):
        cv2.imwrite(str(folder / f"{at:03d}.png"), frame(0, at))
    (root / "train" / "walk" / "notes.txt").write_text("no video")
    return root


def load(root: Path, **args):
    settings = {"image_size": SIZE, "frames": 4, "workers": 0, "augment": "none"}
    return build(DataSettings(name="video_folder", root=root, **{**settings, **args}))


def grey(clip: np.ndarray) -> np.ndarray:
    """The right half's level of each frame, in bytes."""
    pixels = (clip * np.reshape(STD, (3, 1, 1)) + np.reshape(MEAN, (3, 1, 1))) * 255
    return pixels[..., -3:].mean((1, 2, 3))


def test_layout_gives_classes_and_labels(root):
    data = load(root)
    assert data.classes == ("run", "walk")
    assert data.image_shape == (4, 3, SIZE, SIZE)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert len(data.test) == 4


def test_segments_give_a_frame_each_and_their_middle_in_tests():
    for count in (4, 7, 12, 100):
        edges = np.arange(5) * count / 4
        for seed in range(20):
            found = segment_frames(count, 4, np.random.default_rng(seed))
            assert (np.floor(edges[:-1]) <= found).all()
            assert (found <= edges[1:]).all()
        middle = segment_frames(count, 4)
        np.testing.assert_array_equal(middle, ((np.arange(4) + 0.5) * count / 4).astype(int))
    assert len({tuple(segment_frames(100, 4, np.random.default_rng(s))) for s in range(9)}) == 9


def test_frames_are_those_of_the_segments_middles(root):
    data = load(root)
    clips, labels = data.test.batch(np.arange(4))
    assert (clips.dtype, labels.tolist()) == (np.float32, [0, 0, 1, 1])
    for clip, label in zip(clips, labels, strict=True):
        expected = 10 * label + STEP * np.array([1, 4, 7, 10])
        np.testing.assert_allclose(grey(clip), expected, atol=6)  # lossy codecs
    folder = next(i for i, path in enumerate(data.train.paths) if path.endswith("frames"))
    exact, _ = data.train.batch(np.array([folder]))
    np.testing.assert_allclose(grey(exact[0]), STEP * np.array([1, 4, 7, 10]), atol=1e-3)


def test_frames_of_a_folder_are_in_the_order_of_their_numbers(tmp_path):
    for at in range(COUNT):  # as text: 0, 1, 10, 11, 2
        cv2.imwrite(str(tmp_path / f"frame{at}.png"), frame(0, at))
    clip = read_clip(str(tmp_path), ClipPlan(COUNT, SIZE), None, 0)
    np.testing.assert_array_equal(clip[:, 0, -1, 0], STEP * np.arange(COUNT))


def test_a_clip_depends_on_seed_epoch_and_itself_only_and_frames_alike(root):
    split = load(root, augment="crop_flip").train
    whole, _ = split.batch(np.arange(7), KEY)
    part, _ = split.batch(np.array([5]), KEY)
    np.testing.assert_array_equal(part[0], whole[5])
    other, _ = split.batch(np.arange(7), (1, 3))
    assert not np.array_equal(other, whole)
    # a mirrored clip is mirrored in all frames: the darker side is the same everywhere
    darker = whole[..., :2].mean((2, 3, 4)) < whole[..., -2:].mean((2, 3, 4))
    assert (darker == darker[:, :1]).all()
    assert 0 < darker[:, 0].sum() < 7
    wanted = segment_frames(COUNT, 4, generator(Stream.SAMPLE, *KEY, 6))
    assert not np.array_equal(wanted, segment_frames(COUNT, 4))


def test_worker_processes_give_the_same_bits(root):
    alone = load(root, augment="crop_flip")
    shared = load(root, augment="crop_flip", workers=1)
    feed = [
        [row[0].asnumpy() for row in batches(data.train, batch_size=3, workers=1)
         .create_tuple_iterator(num_epochs=1)]
        for data in (alone, shared)
    ]  # fmt: skip
    np.testing.assert_array_equal(*feed)


@pytest.fixture
def damaged(tmp_path):
    for part in ("train", "val"):
        for name in ("run", "walk"):
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(2):
                write_video(tmp_path / part / name / f"{index}.avi", 30 * index, count=4)
    (tmp_path / "train" / "run" / "0.avi").write_bytes(b"no video at all")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_clips_are_errors_or_replaced_and_counted(damaged, caplog, workers):
    with pytest.raises(DataError, match=r"0\.avi: expected a readable video.*data\.corrupt=skip"):
        load(damaged, workers=workers).train.batch(np.arange(2))
    split = load(damaged, corrupt="skip", workers=workers).train
    with caplog.at_level(logging.WARNING):
        clips, _ = split.batch(np.arange(2))
        split.batch(np.arange(2))
    assert split.damaged == {0}
    assert sum("skipped (1 so far)" in record.message for record in caplog.records) == 1
    np.testing.assert_array_equal(clips[0], clips[1])
    (damaged / "train" / "run" / "1.avi").write_bytes(b"")
    with pytest.raises(DataError, match="found all of them damaged"):
        load(damaged, corrupt="skip", workers=workers).train.batch(np.arange(1))


def test_a_stream_shorter_than_it_says_is_sampled_over_what_there_is(root, monkeypatch):
    from ms_eff.data import clip_files

    real = clip_files._decoded
    calls = []

    def short(capture, wanted):
        calls.append(list(wanted))
        return real(capture, wanted)[: 2 if len(calls) == 1 else None]

    monkeypatch.setattr(clip_files, "_decoded", short)
    clips, _ = load(root).test.batch(np.array([0]))
    assert len(calls) == 2
    np.testing.assert_allclose(grey(clips[0]), STEP * np.array([1, 4, 7, 10]), atol=6)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"data\.root: expected the folder.*with video files"):
        load(tmp_path)
    (tmp_path / "train" / "run").mkdir(parents=True)
    with pytest.raises(DataError, match=r"at least 2 class folders, found 1.*with video files"):
        load(tmp_path)
    for part in ("train", "val"):
        for name in ("run", "walk"):
            (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError, match=r"expected videos .* found none"):
        load(tmp_path)
