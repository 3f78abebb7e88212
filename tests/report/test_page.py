from __future__ import annotations

import html
import re
import sys
from html.parser import HTMLParser

import pytest

from ms_eff import report
from ms_eff.errors import DataError, SetupError, UserError
from tests.report.results import full

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")


class Outline(HTMLParser):
    """Checks that tags close in order, and collects headings, cells and addresses."""

    VOID = ("meta", "path", "use", "rect", "image", "line", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for key, value in attrs if key in ("href", "src", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


@pytest.fixture(scope="module")
def page():
    return report.render(full())


def test_page_needs_no_network(page):
    assert "http" not in page
    assert all(address.startswith("#") for address in Outline(page).addresses)
    assert not re.search(r"url\((?!#)|@import", page)
    assert "script" not in Outline(page).tags


def test_page_holds_every_value(page):
    said = Outline(page).text
    for value in (
        *("98.61 %", "74.17 %", "-24.44 pts", "98.33 %", "-0.28 pts"),  # accuracy
        *("698,442", "341,222", "48.9 %", "34.92 M", "17.06 M"),  # size
        *("5.98 ms", "5.38-7.18", "4.29 ms", "1.38x", "17.9 ms"),  # latency
        *("MindIR 0", "ONNX 3.1e-07", "0.0512"),
        *("layer1.0.conv1", "64x32x3x3", "17x19", "0.1357", "18,432", "4,321"),
        *("1.18 M", "276.5 k", "would not shrink", "fc<b>"),
        *("model.args.width", "16", "0.9, 0.999", "seed", "7", "A CPU & co"),
    ):
        assert value in said, value
    assert any("20 runs at batch 8" in words and "limit 1e-04" in words for words in said)
    assert any("2 layers looked at, 1 changed, 1 left whole" in words for words in said)
    assert any("19,082 before, 4,971 after" in words for words in said)


def test_plots_follow_the_page(page):
    plots = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    assert len(plots) == 2
    for plot in plots:
        assert "currentColor" in plot
        assert "#000000" not in plot
    assert "forward latency, ms" in plots[0]
    assert "training loss" in plots[1]


def test_rendering_is_repeatable(page):
    assert report.render(full()) == page


@pytest.mark.parametrize("missing", ["latency", "export", "curve", "accuracy", "macs", "loss"])
def test_missing_pieces_leave_the_rest(missing):
    results = full()
    for stage in results["stages"].values():
        del stage[missing]
    said = Outline(report.render(results)).text
    assert "341,222" in said
    column = {"latency": "forward", "export": "export gap"}.get(missing, missing)
    assert column not in said


def test_one_stage_without_a_value_gets_a_dash():
    results = full()
    del results["stages"]["decomposed"]["latency"]
    results["stages"]["decomposed"]["accuracy"] = None
    assert html.unescape(report.render(results)).count("–") >= 3  # noqa: RUF001


def test_bare_results_render():
    said = Outline(report.render({"stages": {"dense": {"params": 12}}})).text
    assert "12" in said
    assert "Results" in said


def test_methods_add_their_own_parts_and_fields():
    table = report.Table(
        ("patch", "score"), ((report.Entry("a", number=False), report.Entry("9")),)
    )
    results = full()
    results["methods"]["skipvit"] = {"layers": [{"layer": "block5", "kept tokens": 88}]}
    results["methods"]["silent"] = None
    page = report.render(results, [report.Part("Kept patches", "Which?", table, "<svg></svg>")])
    said = Outline(page).text
    for value in ("Kept patches", "Which?", "score", "9", "Layers: skipvit", "kept tokens", "88"):
        assert value in said


def test_written_file_is_the_page_and_nothing_else(tmp_path, page):
    path = report.write(full(), tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == page
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written") as caught:
        report.write(full(), tmp_path / "file" / "report.html")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib.figure"])
def test_missing_package_names_the_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SetupError, match=r"pip install 'ms_eff\[report\]'"):
        report.render(full())


@pytest.mark.parametrize("results", [{}, {"stages": None}, {"stages": {"dense": 3}}])
def test_foreign_results_are_refused_in_one_line(results):
    for make in (report.render, report.terminal_table):
        with pytest.raises(DataError, match=r"results: .*under 'stages'") as caught:
            make(results)
        assert "\n" not in str(caught.value)


def test_accuracy_is_plotted_over_epochs_and_over_seconds(page):
    for place in ("epoch of its stage", "seconds of its training"):
        assert place in page
