"""Language models through the general trainer: from text to a truncated, tuned GPT-2."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

import ms_eff
from ms_eff import data
from ms_eff.config import Config
from ms_eff.data.settings import DataSettings
from ms_eff.errors import ConfigError
from ms_eff.experiment import Experiment
from ms_eff.measure import export_run
from ms_eff.models.gpt2 import GPT2
from ms_eff.report import page, terminal_table
from ms_eff.section import Section
from ms_eff.train.feed import Feed
from ms_eff.train.interrupt import Interrupted
from tests.data.sentences import write_texts
from tests.train.helpers import trainer, weights
from tests.train.test_trainer import StopAt, assert_same

pytest.importorskip("tokenizers")

MODEL = {"dim": 16, "depth": 2, "heads": 2, "positions": 16}
TRAIN = {"optimizer": "adamw", "lr": 1e-2, "epochs": 2, "weight_decay": 0.01}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


def _data(folder, **changes):
    block = {"root": folder, "tokenizer": folder / "tokenizer.json", "block": 16}
    block |= {"train_files": ["a.txt", "b.txt"], "test_share": 0.2, "batch_size": 8, **changes}
    return {"name": "language", **block}


def _config(folder, output, **changes):
    blocks = {
        "model": {"name": "gpt2", **MODEL},
        "data": _data(folder),
        "pretrain": {**TRAIN, "epochs": 3},
        "train": TRAIN,
        "methods": ({"truncation": {"keep": 1, "rule": "bottom"}},),
        "export": {"formats": ("mindir",)},
    }
    return Config(output=output, **{**blocks, **changes})


@pytest.mark.gate
def test_a_language_model_is_trained_cut_and_tuned(folder, tmp_path):
    said = Console(file=io.StringIO(), width=200)
    experiment = Experiment(_config(folder, tmp_path), "test", said)
    results = experiment.train()
    dense, cut, tuned = (results.stages[s] for s in ("dense", "truncated", "fine-tuned"))
    assert dense["perplexity"] < 0.2 * experiment.data.vocab
    assert tuned["perplexity"] < cut["perplexity"]
    assert "accuracy" not in tuned
    assert tuned["perplexity"] == pytest.approx(np.exp(tuned["loss"]))
    assert tuned["samples"] == len(experiment.data.test)
    assert cut["params"] == dense["params"] - (12 * 16**2 + 13 * 16)
    assert results.methods["truncation"]["kept"] == [0]
    assert [row["perplexity"] for row in tuned["curve"]][-1] == tuned["perplexity"]
    assert f"perplexity {tuned['perplexity']:.2f}" in said.file.getvalue()
    (again,) = experiment.evaluate(tmp_path / "models" / "fine-tuned").values()
    assert again.measures()["perplexity"] == pytest.approx(tuned["perplexity"])
    check_what_is_told(experiment, results)


def check_what_is_told(experiment, results):
    """Export and report the run that was just made."""
    (line,) = export_run(experiment, None)
    assert "verified" in line
    found = results.to_dict()
    html = page.render(found)
    assert "test perplexity" in html
    table = Console(file=io.StringIO(), width=160)
    table.print(terminal_table(found))
    assert "perplexity" in table.file.getvalue()
    loaded = ms_eff.load(experiment.folder / "models" / "fine-tuned")
    assert len(loaded.blocks) == 1


@pytest.mark.slow
def test_a_stopped_run_resumes_bit_for_bit(folder, tmp_path):
    settings = DataSettings(**_data(folder, drop_last=False))
    feed = Feed(data.build(settings), settings, 0)

    def job(name, seed, at):
        network = GPT2(**MODEL, vocab=feed.data.vocab, dropout=0.1, seed=seed)
        stop = StopAt(Section())
        stop.at = at
        return trainer(tmp_path / name, network, [stop], feed, **TRAIN)

    whole, cut, resumed = job("whole", 0, -1), job("cut", 0, 9), job("cut", 1, -1)
    whole.fit()
    with pytest.raises(Interrupted):
        cut.fit()
    resumed.fit()
    assert resumed.progress.step > 9
    assert_same(weights(whole.model), weights(resumed.model))


@pytest.mark.slow
def test_half_precision_learns_as_well(folder, tmp_path):
    settings = DataSettings(**_data(folder))
    feed = Feed(data.build(settings), settings, 0)
    losses = {}
    for level in ("O0", "O2"):
        network = GPT2(**MODEL, vocab=feed.data.vocab)
        run = trainer(tmp_path / level, network, [], feed, **TRAIN, precision=level)
        losses[level] = run.fit()[-1]["loss"]
    assert losses["O2"] == pytest.approx(losses["O0"], rel=0.02)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"name": "bert"}}, r"language gives plain text; use one of gpt2, gpt2_small"),
        ({"model": {"name": "resnet18"}}, "language gives plain text; use one of gpt2"),
        ({"model": {"name": "gpt2", **MODEL, "vocab": 9}}, r"model\.vocab = 9: .*knows \d+"),
        ({"model": {"name": "gpt2", **MODEL, "positions": 9}}, r"positions = 9: data\.block is 16"),
        ({"train": {"mirror_test": True}}, r"^train\.mirror_test: true: a text has no mirror"),
        ({"pretrain": {"mirror_test": True}}, r"^pretrain\.mirror_test: true: a text has no"),
        ({"methods": ({"swiftlearn": {"keep": 0.5}},)}, "'swiftlearn' is for classification"),
    ],
)
def test_what_does_not_fit_a_text_is_refused(folder, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        Experiment(_config(folder, tmp_path, **changes), "test", Console(file=io.StringIO()))
