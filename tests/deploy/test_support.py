from __future__ import annotations

import importlib

import pytest
import yaml

from ms_eff.deploy import support
from ms_eff.errors import ConfigError

TABLE = yaml.safe_load(support._TABLE.read_text())


def test_every_row_names_pages_that_are_described():
    pages = TABLE["sources"]
    for page in pages.values():
        assert page["title"]
        assert page["url"].startswith("https://")
        assert set(page["for"]) <= set(support.TARGETS)
    for op, listed in TABLE["onnx"].items():
        assert listed, op
        assert set(listed) <= set(pages), op
    for op, row in TABLE["mindir"].items():
        assert set(row) == {"row", "ascend", "source"}, op
        assert row["source"] in pages, op


def test_rows_are_named_as_mindspore_names_its_primitives():
    modules = [importlib.import_module(name) for name in support._MODULES]
    missing = [op for op in TABLE["mindir"] if not any(hasattr(m, op) for m in modules)]
    # what compiled graphs hold besides: functions and branches, which no class stands for
    assert set(missing) <= {"Partial", "Switch", "SwitchLayer"}


@pytest.mark.parametrize(
    ("op", "kind", "target", "state", "source"),
    [
        ("LayerNormalization", "onnx", "ascend310", "left out", "cann-5.0.4"),
        ("LayerNormalization", "onnx", "ascend310p", "listed", "cann-8.0"),
        ("Loop", "onnx", "ascend310p", "left out", "cann-8.0"),
        ("MatMul", "mindir", "ascend310", "listed", "lite-2.10"),
        ("Rsqrt", "mindir", "ascend310", "left out", "lite-2.10"),
        ("Einsum", "mindir", "ascend310", "unknown", ""),
    ],
)
def test_what_a_page_says_is_told_and_nothing_else(op, kind, target, state, source):
    assert support.support(op, kind, target) == support.Support(state, source)


def test_platforms_are_read_from_the_installed_documentation():
    assert support.platforms("ReLU") == ("Ascend", "GPU", "CPU")
    assert "Ascend" in support.platforms("BatchMatMul")
    # documented where its primitive refers to
    assert "Ascend" in support.platforms("Softmax")


def test_unknown_target_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'ascend31' \(did you mean 'ascend310'\?\)"):
        support.check_target("ascend31")
