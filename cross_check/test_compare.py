import numpy as np
import pytest

from cross_check.bundle import Record
from cross_check.compare import compare


def row(found, expected, quantity="gradients of weights"):
    record = Record(
        "case", "twin", {}, None, "graph", "float32", False, {}, 1, {}, zero=("*.conv1.bias",)
    )
    one = np.ones(3)
    arrays = [{"a.weight": one, "a.conv1.bias": v * one, "a.bias": 1e-6 * one} for v in
              (found, expected)]  # fmt: skip
    return compare(record, quantity, *arrays, tolerance=1e-4)


def test_rounding_where_the_truth_is_zero_passes():
    assert row(3e-7, -2e-7).passed


@pytest.mark.parametrize(("found", "expected"), [(2e-4, 0.0), (0.0, 2e-4), (2e-4, 2e-4)])
def test_what_should_be_zero_is_held_to_zero_on_both_sides(found, expected):
    failed = row(found, expected)
    assert not failed.passed
    assert failed.worst == "a.conv1.bias"


def test_an_update_is_weight_decay_where_the_gradient_is_zero():
    assert row(1e-3 + 3e-7, 1e-3, "update of weights").passed
    assert not row(1e-3, 1.2e-3, "update of weights").passed


def test_other_quantities_of_the_same_names_are_compared_as_usual():
    assert not row(3e-7, -2e-7, "weights").passed


def test_small_arrays_are_measured_against_a_thousandth():
    record = Record("case", "twin", {}, None, "graph", "float32", False, {}, 1, {})
    found = {"a": np.ones(2), "b": np.full(2, 3e-6)}
    expected = {"a": np.ones(2), "b": np.full(2, 1e-6)}
    difference = compare(record, "gradients of weights", found, expected, 1e-4).difference
    assert difference == pytest.approx(2e-6 / 1e-3)


@pytest.mark.parametrize(("ulps", "passes"), [(2, True), (3, False)])
def test_what_storing_the_weights_rounds_away_does_not_count_in_an_update(ulps, passes):
    weights = {"weights/a": np.ones(2, np.float32)}
    record = Record("case", "twin", {}, None, "graph", "float32", False, {}, 2, weights)
    update = {"a": np.full(2, 1e-4)}
    found = {"a": update["a"] + ulps * 2.0**-23}
    assert compare(record, "update of weights", found, update, 1e-4).passed == passes
    assert not compare(record, "gradients of weights", found, update, 1e-4).passed
