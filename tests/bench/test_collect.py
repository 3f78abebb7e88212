import json

import pytest

from ms_eff.bench.collect import main
from ms_eff.errors import ConfigError


def write_run(folder, seed, accuracy, judged_by="accuracy", **config):
    folder.mkdir()
    sizes = {"params": 10, "macs": 20}
    stage = {"loss": 1.5, judged_by: accuracy, **sizes, "curve": [{"seconds": 3.5}]}
    results = {
        "environment": {"device": "cpu"},
        "config": {"seed": seed, "output": str(folder), "data": {"root": "/home/me"}, **config},
        "stages": {"whitened": {**sizes, "curve": []}, "dense": stage},
    }
    (folder / "results.json").write_text(json.dumps(results))
    return str(folder)


def test_seeds_come_together_without_places(tmp_path):
    runs = [write_run(tmp_path / "a", 0, 0.75), write_run(tmp_path / "b", 1, 0.5)]
    main([str(tmp_path / "all.json"), *runs])
    text = (tmp_path / "all.json").read_text()
    record = json.loads(text)
    assert record["seeds"] == [0, 1]
    assert list(record["stages"]) == ["dense"]  # an untrained network has no score
    assert record["stages"]["dense"]["accuracy_mean"] == 0.625
    assert record["stages"]["dense"]["accuracy_spread"] == 0.25
    assert record["stages"]["dense"]["training_seconds"] == [3.5, 3.5]
    assert "/home/me" not in text


def test_runs_of_different_experiments_are_refused(tmp_path):
    runs = [write_run(tmp_path / "a", 0, 0.5), write_run(tmp_path / "b", 1, 0.5, lr=3)]
    with pytest.raises(ConfigError, match="lr: None -> 3"):
        main([str(tmp_path / "all.json"), *runs])


def test_runs_that_are_judged_otherwise_are_refused(tmp_path):
    runs = [write_run(tmp_path / "a", 0, 20.6, judged_by="perplexity")]
    with pytest.raises(ConfigError, match="judged by accuracy"):
        main([str(tmp_path / "all.json"), *runs])


def test_too_few_words_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least one run"):
        main([str(tmp_path / "all.json")])
