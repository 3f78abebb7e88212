from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from ms_eff.bench import gpt2_truncation
from ms_eff.bench.gpt2_truncation_sizes import ARMS, SCRATCH, SIZES, TEACHER, cases, peak_lr
from tests.data.sentences import write_texts


def test_every_student_stands_beside_the_teacher_for_each_seed() -> None:
    found = [(case.arm, case.seed) for case in cases(SIZES["hour"])]
    assert found[0] == (TEACHER, 0)
    assert len(set(found)) == 1 + 3 * len(ARMS)
    folders = {case.folder for case in cases(SIZES["hour"])}
    assert len(folders) == len(found)


def test_new_weights_learn_at_the_teachers_rate() -> None:
    rates = {case.arm: peak_lr(case, SIZES["hour"]) for case in cases(SIZES["hour"])}
    assert rates[TEACHER] == rates[SCRATCH] > rates["uniform"]


def test_a_depth_that_a_rule_has_no_answer_for_is_refused() -> None:
    with pytest.raises(ValidationError, match="pseudo_uniform takes blocks in pairs"):
        type(SIZES["quick"])(**{**dict(SIZES["quick"]), "keep": 5})


def test_the_table_gives_mean_spread_and_the_papers_figure() -> None:
    rows = [
        {"arm": arm, "seed": seed, "zero_step": 100.0, "perplexity": value}
        for arm, values in (("top", (50.0, 54.0)), (SCRATCH, (70.0,)))
        for seed, value in enumerate(values)
    ]
    lines = gpt2_truncation.table(rows).splitlines()
    assert lines[1].split() == ["top", "100.00", "52.00", "50.00-54.00", "2", "49.61"]
    assert lines[2].split()[-1] == "1"  # the paper has no such row


@pytest.mark.slow
def test_the_smallest_size_runs_to_its_table_and_goes_on_where_it_stopped(tmp_path, capsys) -> None:
    pytest.importorskip("tokenizers")
    texts = write_texts(tmp_path, sentences=600)
    words = [
        *("--text", str(texts / "a.txt"), str(texts / "b.txt"), "--size", "quick"),
        *(
            "--block",
            "8",
            "--depth",
            "4",
            "--keep",
            "2",
            "--steps",
            "3",
            "--teacher-steps",
            "6",
            "--dim",
            "8",
            "--vocab",
            "300",
        ),
        *("--work", str(tmp_path / "work"), "--output", str(tmp_path / "rows.json")),
    ]
    assert gpt2_truncation.main(words) == 0
    first = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["arm"] for row in first] == [TEACHER, *ARMS]
    kept = {row["arm"]: row["kept"] for row in first}
    assert kept["pseudo_uniform"] == [0, 3]
    assert kept[SCRATCH] is None
    assert all(np.isfinite(row["perplexity"]) for row in first)
    assert len({row["steps"] for row in first if row["arm"] != TEACHER}) == 1
    # one seed more: the teacher is taken up, not trained again
    assert gpt2_truncation.main([*words, "--seeds", "0", "1"]) == 0
    later = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert later[: len(first)] == first
    assert len(later) == 1 + 2 * len(ARMS)
    assert "pseudo_uniform" in capsys.readouterr().err
