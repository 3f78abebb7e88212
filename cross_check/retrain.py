"""The torch side of the recipes: train again by hand and compare. Imports no MindSpore.

The twins compute in float64, so that what differs is the rounding of the recorded side alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from cross_check.bundle import BundleError, Record
from cross_check.compare import Row, compare
from cross_check.lookup import loaded, twin_function
from cross_check.tolerances import recipe_tolerance
from cross_check.twins.recipes.given import Batch, Given

__all__ = ["is_recipe", "retrain"]

_PREFIX = "recipes."


def is_recipe(record: Record) -> bool:
    """Tell whether a record is of a training."""
    return record.twin.startswith(_PREFIX)


def retrain(record: Record, device: str = "cpu") -> list[Row]:
    """Return one row a quantity: a loop written by hand against the recorded training.

    Args:
        record: what MindSpore did.
        device: torch's, `cpu` or `cuda`.

    Raises:
        BundleError: the record does not fit its twin.
        ImportError: the twin needs a package that is not here (transformers).
    """
    trained = twin_function(record.twin)(_given(record, device))
    found = _found(record)
    rows = []
    for quantity, arrays in trained.items():
        if quantity not in found:
            raise BundleError(f"{record.case}: {quantity} was not recorded")
        bound = recipe_tolerance(record.dtype, quantity)
        # compared as an update is: where gradients are zero in truth, both sides are held to that
        like = "update of weights" if "weights" in quantity else quantity
        row = compare(record, like, found[quantity], arrays, bound)
        rows.append(replace(row, quantity=quantity))
    return rows


def _given(record: Record, device: str) -> Given:
    def build(weights: Mapping[str, np.ndarray], **changes: Any) -> torch.nn.Module:
        args = {**record.args["network args"], **changes}
        network = twin_function(record.args["network"])(**args)
        return loaded(network, weights, record.case).double().to(device)

    def tensor(array: np.ndarray) -> torch.Tensor:
        found = torch.from_numpy(np.array(array)).to(device)
        return found.double() if found.is_floating_point() else found.long()

    batches = []
    for step in range(record.steps):
        group = record.group(f"step {step}")
        inputs, labels = tensor(group.pop("inputs")), tensor(group.pop("labels"))
        indices, epoch = group.pop("indices"), int(group.pop("epoch"))
        more = {name: tensor(array) for name, array in group.items()}
        batches.append(Batch(inputs, labels, indices, epoch, more))
    tested = {name: tensor(array) for name, array in record.group("tested").items()}
    return Given(
        build=build,
        train=record.args["train"],
        methods=record.args["methods"],
        batches=batches,
        tested=(tested["inputs"], tested["labels"]) if tested else None,
        group=record.group,
        tensor=tensor,
    )


def _found(record: Record) -> dict[str, dict[str, np.ndarray]]:
    """Return what MindSpore did, by quantity."""
    single = {"learning rates": "rates", "loss curve": "losses", "evaluation": "evaluation"}
    found = {name: {"": record.arrays[key]} for name, key in single.items() if key in record.arrays}
    before = record.group("weights")
    groups = {
        "first update of weights": "first",
        "movement of weights": "after",
        "averaged weights": "averaged",
    }
    for quantity, group in groups.items():
        if not record.group(group):
            continue
        found[quantity] = {k: v - before[k] for k, v in record.group(group).items()}
    for key, array in record.group("also").items():
        quantity, _, name = key.partition("/")
        found.setdefault(quantity, {})[name] = array
    return found
