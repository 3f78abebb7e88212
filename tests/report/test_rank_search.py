from __future__ import annotations

import re
from typing import Any

from ms_eff.report.page import render
from ms_eff.report.rank_search import curves_of, searched, table_of
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
    figure = curves_of(searched(ROWS))
    assert figure is not None
    assert len(re.findall(r'id="axes_\d+"', figure)) == 2
    assert curves_of([]) is None
