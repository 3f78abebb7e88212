from __future__ import annotations

import json
from pathlib import Path

import pytest

from ms_eff.bench import distillation
from ms_eff.bench.distillation_sizes import (
    KIND,
    METHODS,
    PLAIN,
    SIZES,
    TEACHER,
    Case,
    cases,
    make_config,
)
from ms_eff.bench.rows import Rows
from ms_eff.errors import ConfigError
from ms_eff.report.distillation_methods import PAPER, main, markdown

WHERE = {"data": Path("sst2"), "minilm": Path("minilm")}


def test_every_seed_has_every_method_and_its_teachers_before_it():
    size = SIZES["hour"]
    assert len(size.seeds) >= 2
    found = list(cases(size))
    assert [(c.seed, c.method) for c in found] == [(s, m) for s in size.seeds for m in METHODS]
    for at, case in enumerate(found):
        assert case.teacher is None or case.teacher in found[:at]
    assert PAPER.keys() == METHODS.keys()


def test_students_of_a_seed_differ_in_distillation_only(tmp_path):
    size = SIZES["quick"]
    dumps = [
        make_config(case, size, WHERE, tmp_path).to_dict()
        for case in cases(size)
        if case.method != TEACHER
    ]
    for dump in dumps:
        dump.pop("output")
        dump["train"].pop("eval_every")  # annealing looks for its best epoch
    methods = [dump.pop("methods") for dump in dumps]
    assert all(dump == dumps[0] for dump in dumps)
    assert all(method[0] == methods[0][0] for method in methods)
    assert len({json.dumps(method) for method in methods}) == len(methods)


@pytest.mark.parametrize("case", list(cases(SIZES["quick"])), ids=lambda case: case.method)
def test_the_settings_of_every_row_are_accepted(case, tmp_path):
    from ms_eff.methods.distillation import DistillationSettings

    entries = make_config(case, SIZES["quick"], WHERE, tmp_path).methods
    settings = [e["distillation"] for e in entries if "distillation" in e]
    assert len(settings) == (METHODS[case.method] is not None)
    assert all(DistillationSettings(**s).kind == METHODS[case.method]["kind"] for s in settings)


def _rows() -> dict:
    rows = []
    for seed, shift in ((1, 0.0), (2, 0.02)):
        for i, method in enumerate(METHODS):
            rows.append({
                "seed": seed, "method": method, "dev_accuracy": 0.8 + shift,
                "test_accuracy": 0.8 + i / 100 + shift, "seconds": 10.0 + i, "params": 1000 + i,
                "train_samples": 2000,
            })  # fmt: skip
    call = {"device": "CPU", "cores": 2, "versions": {"mindspore": "2.9.0"}, "date": "2026-01-01"}
    return {"rows": rows, "calls": [call], "settings": SIZES["hour"].model_dump(mode="json")}


def test_the_table_stands_beside_the_papers_and_names_the_spread(tmp_path, capsys):
    text = markdown(_rows())
    line = next(row for row in text.splitlines() if row.startswith("| MATE-KD"))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[1] == "81.00 ± 1.41"
    assert cells[3] == "+7.00 ± 0.00"
    assert cells[5] == "1.64 ± 0.00"  # 18 s against 11 s
    assert cells[6:] == ["78.5", "+1.4"]
    assert "by test accuracy: MATE-KD, annealing-KD" in text
    assert "7.00 points apart, the largest standard deviation over the seeds is 1.41" in text
    rows = Rows(tmp_path / "rows.json", KIND, SIZES["hour"].model_dump(mode="json"))
    for row in _rows()["rows"][:2]:
        rows.add(row)
    assert main([str(tmp_path / "rows.json")]) == 0
    assert capsys.readouterr().out.count("|") > 20
    assert main([str(tmp_path / "none.json")]) == 2


def test_a_timing_beside_the_rows_gives_the_cost_of_a_step_once_all_is_compiled(tmp_path, capsys):
    rows = Rows(tmp_path / "rows.json", KIND, SIZES["hour"].model_dump(mode="json"))
    timing = Rows(tmp_path / "rows_time.json", KIND, SIZES["timing"].model_dump(mode="json"))
    for row in _rows()["rows"][: len(METHODS)]:
        rows.add(row)
        # 50 steps an epoch; the first compiles, the last may be another phase
        at = 1 + list(METHODS).index(row["method"])
        timing.add({**row, "steps": 200, "epoch_seconds": [99.0, 5.0 * at, 5.0 * at, 77.0]})
    assert main([str(tmp_path / "rows.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ms a step" in lines[0]
    found = {line.split("|")[1].strip(): line.split("|") for line in lines if line[:1] == "|"}
    assert found[PLAIN][5].strip() == "200"
    assert found["label smoothing"][5].strip() == "300"
    assert found["label smoothing"][6].strip() == "1.50"
    assert "a step of 32 sentences" in "".join(lines)


@pytest.mark.gate
def test_rows_are_measured_once_and_teachers_kept(tmp_path, monkeypatch, capsys):
    seen = []

    def measure(case, size, where, work, console=None):
        seen.append(case)
        (work / case.folder / "models").mkdir(parents=True)
        (work / case.folder / "train").mkdir()
        return {
            "dev_accuracy": 0.5, "test_accuracy": 0.5, "seconds": 1.0, "params": 1,
            "train_samples": 64,
        }  # fmt: skip

    monkeypatch.setattr(distillation, "measure", measure)
    words = ["--data", "sst2", "--size", "quick", "--output", str(tmp_path / "rows.json"),
             "--work", str(tmp_path / "work")]  # fmt: skip
    assert distillation.main(words) == 0
    assert seen == list(cases(SIZES["quick"]))
    assert "| vanilla KD |" in capsys.readouterr().out
    left = {p.name for p in (tmp_path / "work" / "seed0").iterdir()}
    assert left == {Case(0, m).folder.name for m in (TEACHER, PLAIN)}
    assert not (tmp_path / "work" / "seed0" / TEACHER / "train").exists()
    monkeypatch.setattr(distillation, "measure", None)
    assert distillation.main(words) == 0


def test_a_row_that_was_stopped_is_started_over(tmp_path, monkeypatch):
    class Begun(Exception):  # noqa: N818
        pass

    def begin(config, command, console, fresh=False):
        raise Begun(fresh)

    monkeypatch.setattr("ms_eff.experiment.Experiment", begin)
    for name in ("train", "test"):
        (tmp_path / f"{name}.tsv").write_text("fine\t1\n")
    where = {"data": tmp_path, "minilm": tmp_path}
    with pytest.raises(Begun) as begun:
        distillation.measure(Case(0, PLAIN), SIZES["quick"], where, tmp_path / "work")
    assert begun.value.args == (True,)


def test_a_mistake_is_one_line_and_other_settings_need_another_file(tmp_path, capsys):
    words = ["--data", "sst2", "--epochs", "1", "--work", str(tmp_path)]
    assert distillation.main(words) == 2
    assert "epochs = 1: it should be greater than or equal to 2" in capsys.readouterr().err
    path = tmp_path / "rows.json"
    Rows(path, KIND, {"seeds": [1], "keep": 3}).add({"method": PLAIN})
    with pytest.raises(ConfigError, match="keep"):
        Rows(path, KIND, {"seeds": [1], "keep": 2})
