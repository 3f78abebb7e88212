from __future__ import annotations

from ms_eff.report.tables import Entry, about_layers, comparison, facts, layers
from tests.report.results import full


def test_shares_refer_to_the_first_stage():
    stages = {"teacher": {"params": 200}, "student": {"params": 50}}
    table = comparison(stages)
    assert table.columns == ("model", "parameters")
    assert [row[1] for row in table.rows] == [Entry("200"), Entry("50", ("25.0 %",))]


def test_a_language_model_is_judged_by_its_perplexity():
    table = comparison({"dense": {"perplexity": 40.0}, "cut": {"perplexity": 50.123}})
    assert table.columns == ("model", "perplexity")
    assert [row[1] for row in table.rows] == [Entry("40"), Entry("50.12", ("+25.3 %",))]


def test_narrow_leaves_out_the_wide_columns():
    stages = full()["stages"]
    assert "loss" in comparison(stages).columns
    assert "loss" not in comparison(stages, narrow=True).columns


def test_layers_left_whole_are_faint_and_say_why():
    found = full()["methods"]["lowrank"]["layers"]
    table = layers(found)
    assert table.faint == {1}
    assert table.rows[1][-1] == Entry("would not shrink", number=False)
    assert table.rows[1][table.columns.index("rank")].text == "–"  # noqa: RUF001
    assert "MACs" in table.columns
    assert "MACs" not in layers(found, narrow=True).columns


def test_unknown_fields_of_a_layer_follow_and_nested_ones_stay_out():
    report = [{"layer": "a", "reason": "", "gain": 0.25, "curve": {"16": 1.0}, "kept": [1, 2]}]
    table = layers(report)
    assert table.columns == ("layer", "gain", "kept", "why whole")
    assert [entry.text for entry in table.rows[0]] == ["a", "0.25", "1x2", ""]
    assert about_layers(report) == "1 layers looked at, 1 changed, 0 left whole."


def test_facts_are_dotted_and_leave_out_the_unknown():
    table = facts({"a": {"b": 1, "c": None}, "methods": [{"lowrank": {"ratio": 2}}], "l": [1, 2]})
    assert [tuple(entry.text for entry in row) for row in table.rows] == [
        ("a.b", "1"),
        ("methods.0.lowrank.ratio", "2"),
        ("l", "1, 2"),
    ]
