"""Data that go bad while a network trains on them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn
from PIL import Image

from ms_eff import data
from ms_eff.data import pipeline
from ms_eff.data.settings import DataSettings
from ms_eff.errors import DataError, DivergedError
from ms_eff.methods.base import Method
from ms_eff.section import Section
from ms_eff.train import checkpoint
from ms_eff.train.feed import Feed
from tests.train.helpers import said, small_feed, trainer, weights


class NotANumber:
    """A split that has a NaN in one pixel of one sample."""

    def __init__(self, split, sample):
        self._split, self.sample = split, sample

    def __getattr__(self, name):
        return getattr(self._split, name)

    def __len__(self):
        return len(self._split)

    def batch(self, indices, key=None):
        images, labels = self._split.batch(indices, key)
        images[np.asarray(indices) == self.sample, 0, 0, 0] = np.nan
        return images, labels


class AtStep(Method):
    """Calls something after a step."""

    name = "at_step"
    watches_steps = True
    step, act = 3, staticmethod(lambda: None)

    def on_step_end(self, event):
        if event.step == self.step:
            self.act()


def with_nan(feed, step):
    """Put a NaN into a sample of that step of the first epoch."""
    order = np.concatenate([used.asnumpy() for *_, used in feed.train(0, np.arange(48))])
    train = NotANumber(feed.data.train, int(order[8 * (step - 1)]))
    return dataclasses.replace(feed, data=dataclasses.replace(feed.data, train=train))


@pytest.mark.gate
@pytest.mark.parametrize("precision", ["O0", "O2"])
def test_a_nan_in_the_data_is_named_and_nothing_of_it_is_saved(tmp_path, precision):
    """Under a loss scale too: its step is skipped, but the running statistics are spoilt."""
    feed = with_nan(small_feed(), 3)
    sample = feed.data.train.sample
    run = trainer(
        tmp_path, feed=feed, net=dense_net(), save_every_steps=1, precision=precision, epochs=1
    )  # fmt: skip
    said = rf"step 3 .*training sample {sample} holds.*step-00000002.*check the data"
    with pytest.raises(DivergedError, match=said):
        run.fit()
    assert run.store.steps()[-1] == 2
    saved = checkpoint.read(run.store.path(2))
    assert all(np.isfinite(array).all() for array in saved.weights.values())


@pytest.mark.gate
def test_what_a_network_hides_of_a_nan_is_found_before_it_is_saved(tmp_path):
    """ReLU may make zero of it: the loss stays finite and the statistics do not."""
    run = trainer(tmp_path, feed=with_nan(small_feed(), 3), save_every_steps=1)
    with pytest.raises(DivergedError, match=r"step 3 .*not finite.*step-00000002.*check the data"):
        run.fit()
    assert run.store.steps()[-1] == 2


@pytest.fixture
def pictures(tmp_path):
    for part, count in (("train", 8), ("val", 2)):
        for number, name in enumerate(("ant", "bee", "cat")):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                rng = np.random.default_rng(100 * number + index)
                pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "data"


def feed_of(root, **changes):
    settings = DataSettings(
        name="image_folder", root=root, image_size=8, batch_size=3, eval_batch_size=6,
        augment="crop_flip", workers=1, **changes,
    )  # fmt: skip
    return Feed(data.build(settings), settings)


def dense_net(inputs=64, seed=0):
    rng = np.random.default_rng(seed)
    net = nn.SequentialCell(nn.Flatten(), nn.Dense(inputs, 3))
    for p in net.trainable_params():
        p.set_data(Tensor(0.1 * rng.standard_normal(p.shape).astype(np.float32)))
    return net


@pytest.mark.gate
def test_a_picture_that_vanishes_in_an_epoch_is_named_and_the_run_goes_on_when_it_is_back(
    pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(pipeline, "PREFETCH_BYTES", 1)  # two batches ahead, no more
    settings = {"epochs": 2, "save_every_steps": 1}
    whole = trainer(tmp_path / "whole", dense_net(192), feed=feed_of(pictures), **settings)
    whole.fit()

    feed = feed_of(pictures)
    order = np.concatenate([used.asnumpy() for *_, used in feed.train(1, np.arange(24))])
    gone = Path(feed.data.train.paths[order[-1]])
    content = gone.read_bytes()
    method = AtStep(Section())
    method.step, method.act = 9, gone.unlink  # the first step of the second epoch
    run = trainer(tmp_path / "cut", dense_net(192), [method], feed, **settings)
    with pytest.raises(DataError, match=f"{gone}.*No such file.*corrupt=skip"):
        run.fit()
    assert 9 <= run.store.steps()[-1] < 16

    gone.write_bytes(content)
    again = trainer(tmp_path / "cut", dense_net(192, seed=5), feed=feed_of(pictures), **settings)
    again.fit()
    assert "resuming from" in said(again)
    for name, array in weights(whole.model).items():
        assert np.array_equal(array, weights(again.model)[name]), name
