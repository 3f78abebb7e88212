from __future__ import annotations

import json

import pytest

from ms_eff.bench.join import join, main
from ms_eff.bench.swiftlearn_sizes import KIND
from ms_eff.errors import ConfigError


def _file(path, *seeds, epochs=10):
    row = {"task": "sst2", "policy": "full", "keep": 1.0}
    content = {
        "format": KIND.format,
        "settings": {"epochs": epochs, "seeds": list(seeds)},
        "calls": [{"command": f"seed {seed}"} for seed in seeds],
        "rows": [{**row, "seed": seed, "call": i} for i, seed in enumerate(seeds)],
    }
    path.write_text(json.dumps(content))
    return path


def test_each_row_stays_with_its_call(tmp_path):
    one, two = _file(tmp_path / "1.json", 5), _file(tmp_path / "2.json", 3, 4)
    assert join(tmp_path / "all.json", [one, two]) == 3
    found = json.loads((tmp_path / "all.json").read_text())
    assert found["settings"]["seeds"] == [3, 4, 5]
    assert found["format"] == KIND.format
    commands = {row["seed"]: found["calls"][row["call"]]["command"] for row in found["rows"]}
    assert commands == {seed: f"seed {seed}" for seed in (5, 3, 4)}


def test_what_does_not_belong_together_is_refused_and_nothing_is_written(tmp_path, capsys):
    one, same = _file(tmp_path / "1.json", 1), _file(tmp_path / "2.json", 2, 1)
    with pytest.raises(ConfigError, match=r"2\.json: a row of .*'seed': 1.* is there already"):
        join(tmp_path / "all.json", [one, same])
    longer = _file(tmp_path / "3.json", 2, epochs=11)
    with pytest.raises(ConfigError, match=r"3\.json: made with other settings .*epochs"):
        join(tmp_path / "all.json", [one, longer])
    (tmp_path / "4.json").write_text('{"format": "ms_eff.os/1"}')
    with pytest.raises(ConfigError, match=r"4\.json: not rows of an experiment"):
        join(tmp_path / "all.json", [tmp_path / "4.json"])
    (tmp_path / "5.json").write_text(json.dumps({"format": KIND.format, "rows": []}))
    with pytest.raises(ConfigError, match=r"5\.json: not rows of `python -m ms_eff\.bench"):
        join(tmp_path / "all.json", [one, tmp_path / "5.json"])
    assert not (tmp_path / "all.json").exists()
    assert main([str(one), str(one)]) == 2
    assert "1.json: exists; name a new file" in capsys.readouterr().err
