from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ms_eff.data import DataSettings, build
from ms_eff.data.image_folder import MEAN, STD
from ms_eff.data.randomness import Stream, generator
from ms_eff.data.transforms import random_resized_box
from ms_eff.errors import DataError
from tests.tolerances import LAYER

KEY = (1, 2)
SIZE = 16


def write_picture(file: Path, seed: int, mode: str = "RGB") -> None:
    width, height = 24 + seed % 7, 20 + seed % 11
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(file)


@pytest.fixture
def root(tmp_path):
    for part, count in (("train", 4), ("val", 2)):
        for number, name in enumerate(("ant", "bee")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                write_picture(folder / f"{index}.png", seed=100 * number + index)
    (tmp_path / "train" / "ant" / "notes.txt").write_text("not a picture")
    return tmp_path


def load(root: Path, **args):
    return build(DataSettings(name="image_folder", root=root, image_size=SIZE, **args))


def normalised(picture: Image.Image) -> np.ndarray:
    scaled = np.asarray(picture, np.float64) / 255.0
    return ((scaled - MEAN) / STD).transpose(2, 0, 1)


def evaluated(file: Path) -> Image.Image:
    """Return the evaluation crop by PIL alone: shorter side to 18, the middle 16 x 16."""
    picture = Image.open(file).convert("RGB")
    scale = 18 / min(picture.size)
    size = tuple(18 if side == min(picture.size) else int(side * scale) for side in picture.size)
    left, top = (round((side - 16) / 2) for side in size)
    resized = picture.resize(size, Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + 16, top + 16))


def test_layout_gives_classes_and_labels(root):
    data = load(root)
    assert data.classes == ("ant", "bee")
    assert (len(data.train), len(data.test), data.image_shape) == (8, 4, (3, SIZE, SIZE))
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4
    (root / "val").rename(root / "test")
    assert len(load(root).test) == 4


def test_evaluation_equals_pil(root):
    data = load(root)
    images, labels = data.test.batch(np.array([3, 0]))
    expected = [evaluated(root / "val" / name) for name in ("bee/1.png", "ant/0.png")]
    np.testing.assert_allclose(images, [normalised(p) for p in expected], atol=LAYER)
    assert (images.dtype, labels.tolist()) == (np.float32, [1, 0])


def test_imagenet_training_equals_pil(root):
    images, _ = load(root).train.batch(np.arange(8), KEY)
    files = sorted((root / "train").glob("*/*.png"))
    flips = []
    for index, (image, file) in enumerate(zip(images, files, strict=True)):
        rng = generator(Stream.SAMPLE, *KEY, index)
        picture = Image.open(file).convert("RGB")
        box = random_resized_box(*picture.size, rng)
        expected = normalised(picture.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        flips.append(rng.random() < 0.5)
        np.testing.assert_allclose(
            image, expected[:, :, ::-1] if flips[-1] else expected, atol=LAYER
        )
    assert set(flips) == {True, False}


def test_flip_mirrors_the_evaluation_crop(root):
    data = load(root, augment="flip")
    plain, _ = data.train.batch(np.arange(8))
    images, _ = data.train.batch(np.arange(8), KEY)
    mirrored = [not np.array_equal(a, b) for a, b in zip(images, plain, strict=True)]
    assert set(mirrored) == {True, False}
    expected = [p[:, :, ::-1] if m else p for p, m in zip(plain, mirrored, strict=True)]
    np.testing.assert_array_equal(images, expected)


def test_crop_flip_cuts_a_window_of_the_resized_picture(root):
    images, _ = load(root, augment="crop_flip").train.batch(np.arange(4), KEY)
    for index, image in enumerate(images):
        picture = Image.open(root / "train" / "ant" / f"{index}.png").convert("RGB")
        scale = 18 / min(picture.size)
        size = [18 if side == min(picture.size) else int(side * scale) for side in picture.size]
        whole = normalised(picture.resize(size, Image.Resampling.BILINEAR))
        both = (whole, whole[:, :, ::-1])
        windows = [
            w[:, y : y + SIZE, x : x + SIZE]
            for w in both
            for y in range(size[1] - SIZE + 1)
            for x in range(size[0] - SIZE + 1)
        ]
        assert min(np.abs(image - window).max() for window in windows) < LAYER


def test_a_sample_does_not_depend_on_its_batch(root):
    train = load(root).train
    together, _ = train.batch(np.arange(8), KEY)
    alone, _ = train.batch(np.array([5]), KEY)
    np.testing.assert_array_equal(alone[0], together[5])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_other_modes_become_rgb(root, mode):
    write_picture(root / "val" / "ant" / "0.png", 5, mode)
    images, _ = load(root).test.batch(np.array([0]))
    expected = normalised(evaluated(root / "val" / "ant" / "0.png"))
    np.testing.assert_allclose(images[0], expected, atol=LAYER)


def test_limits_are_balanced(root):
    train = load(root, train_limit=4).train
    assert [Path(path).name for path in train.paths] == ["0.png", "1.png"] * 2
    assert train.labels.tolist() == [0, 0, 1, 1]


def damage(file: Path, how: str) -> None:
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:300])
    elif how == "text":
        file.write_text("this is no picture")
    else:
        file.unlink()


@pytest.mark.parametrize("how", ["truncated", "text", "gone"])
def test_damaged_picture_is_named(root, how):
    data = load(root)
    damage(root / "train" / "bee" / "1.png", how)
    with pytest.raises(DataError, match=r"train/bee/1\.png: expected .* data\.corrupt=skip"):
        data.train.batch(np.arange(8), KEY)


def test_skipped_picture_is_replaced_by_the_next_of_its_class(root, caplog):
    data = load(root, corrupt="skip", augment="none")
    whole, _ = data.train.batch(np.arange(8))
    for name in ("2.png", "3.png"):
        damage(root / "train" / "ant" / name, "truncated")
    for _ in range(2):
        with caplog.at_level(logging.WARNING, logger="ms_eff"):
            images, labels = data.train.batch(np.arange(8), KEY)
        # 2 -> 3, damaged too -> 0; 3 -> 0
        np.testing.assert_array_equal(images, whole[[0, 1, 0, 0, 4, 5, 6, 7]])
        assert labels.tolist() == [0] * 4 + [1] * 4
    assert data.train.damaged == {2, 3}
    assert caplog.text.count("skipped: ") == 2


def test_a_class_without_any_readable_picture_is_an_error(root):
    data = load(root, corrupt="skip")
    for file in (root / "val" / "bee").iterdir():
        damage(file, "text")
    with pytest.raises(DataError, match=r"val/bee: .* class 'bee', found all of them damaged"):
        data.test.batch(np.arange(4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "val").rename(root / "x"), r"expected the folder .*val, found none"),
        (lambda root: (root / "train").rename(root / "x"), r"the folder .*train, found none"),
        (
            lambda root: (root / "val" / "bee").rename(root / "val" / "wasp"),
            r"val: expected the same classes .* 1 of them \(bee\)",
        ),
        (lambda root: (root / "val" / "cow").mkdir(), r"train: expected the same .*\(cow\)"),
        (
            lambda root: [file.unlink() for file in (root / "train" / "bee").iterdir()],
            r"train/bee: expected pictures",
        ),
        (
            lambda root: (root / "train" / "bee").rename(root / "bee"),
            r"train: expected at least 2 class folders, found 1",
        ),
    ],
)
def test_a_wrong_layout_is_named(root, change, message):
    change(root)
    with pytest.raises(DataError, match=message):
        load(root)
