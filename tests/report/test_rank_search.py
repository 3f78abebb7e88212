from __future__ import annotations

import io
import re
from typing import Any

from rich.console import Console

from ms_eff.report.page import render
from ms_eff.report.rank_search import about_network, curves_of, searched, table_of
from ms_eff.report.terminal import layer_table
from tests.report.results import full


def _row(layer: str, rank: int | None, why: str) -> dict[str, Any]:
    curve = [{"rank": r, "median_ms": r / 16, "spread_ms": 0.25, "runs": 5} for r in (32, 24, 16)]
    return {
        "layer": layer,
        "shape": [64, 64, 3, 3],
        "decomposed": rank is not None,
        "reason": "" if rank else why,
        "search": {
            "rank": rank,
            "start": 38,
            "dense": {"median_ms": 7.5, "spread_ms": 0.5, "runs": 5},
            "curve": curve,
            "why": why,
        },
    }


ROWS = [
    _row("a.0", 24, "rank 24: just below the largest jump"),
    _row("a.1", 24, "rank 24: just below the largest jump"),
    _row("b", None, "ORG: at rank 16 1 ms"),
    {"layer": "c", "shape": [4, 4], "decomposed": False, "search": None},
]


def test_equal_layers_stand_together_and_say_why() -> None:
    first, second = searched(ROWS)
    assert (first.layers, second.layers) == (("a.0", "a.1"), ("b",))
    table = table_of([first, second])
    texts = [[entry.text for entry in row] for row in table.rows]
    assert texts[0][0] == "a.0 and 1 more"
    assert texts[0][2:6] == ["7.50", "38", "24", "1.50"]
    assert texts[1][4] == "ORG"
    assert table.faint == {1}


def test_each_distinct_layer_gets_a_curve_and_the_page_holds_them() -> None:
    results = full()
    results["methods"]["lowrank"]["layers"] = ROWS
    page = render(results)
    assert "Ranks by latency: lowrank" in page
    assert "just below the largest jump" in page
    assert "Whole network" not in page
    figure = curves_of(searched(ROWS))
    assert figure is not None
    assert len(re.findall(r'id="axes_\d+"', figure)) == 2
    assert curves_of([]) is None


def test_the_whole_networks_times_are_told_and_who_knows_them() -> None:
    network = {
        "objective": "train",
        "source": "latency profile (board)",
        "dense_ms": 40.0,
        "predicted_ms": 30.0,
        "measured_ms": None,
    }
    results = full()
    results["methods"]["lowrank"] |= {"layers": ROWS, "network": network}
    told = "40.0 ms before, not run afterwards, 30.0 ms by its layers (latency profile (board))"
    assert told in render(results)
    # the terminal folds it into several lines
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(layer_table("lowrank", results["methods"]["lowrank"]))
    assert about_network(network) in " ".join(console.export_text().split())
    assert about_network(None) == ""
