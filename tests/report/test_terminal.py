from __future__ import annotations

import io

from rich.console import Console

from ms_eff.report import layer_table, terminal_table
from tests.report.results import full


def shown(table):
    stream = io.StringIO()
    Console(file=stream, width=80).print(table)
    return stream.getvalue()


def test_table_fits_eighty_columns_with_every_value_whole():
    text = shown(terminal_table(full()))
    for value in (
        *("dense", "decomposed", "fine-tuned", "98.61 %", "-24.44 pts", "-0.28 pts"),
        *("698,442", "341,222", "48.9 %", "17.06 M", "4.29 ms", "3.86-5.15", "1.38x"),
        *("17.9 ms", "MindIR 0", "ONNX 3.1e-07", "20 runs at batch 8", "limit"),
    ):
        assert value in text, value
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_table_without_latency_and_export():
    results = full()
    for stage in results["stages"].values():
        del stage["latency"], stage["export"]
    text = shown(terminal_table(results))
    assert "98.33 %" in text
    assert "forward" not in text
    assert "runs" not in text


def test_layers_fit_eighty_columns_too():
    text = shown(layer_table("lowrank", full()["methods"]["lowrank"]))
    for value in ("layer1.0.conv1", "64x32x3x3", "17x19", "0.1357", "18.43 k", "4.321 k"):
        assert value in text, value
    assert "lowrank, layer by layer" in text
    assert "would not" in text
    assert max(map(len, text.splitlines())) <= 80


def test_method_without_layers():
    assert "sam: changed no single layers" in shown(layer_table("sam", {}))
