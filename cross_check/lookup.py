"""Twins by the names that records give, and weights put into them. Imports no MindSpore."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from cross_check.bundle import BundleError

__all__ = ["loaded", "twin_function"]


def twin_function(name: str) -> Callable[..., Any]:
    """Return `module:function` under `cross_check.twins`.

    Raises:
        BundleError: there is none; the name comes from a file.
        ImportError: it needs a package that is not here (transformers).
    """
    module, _, function = name.partition(":")
    if not all(part.isidentifier() for part in module.split(".")):
        raise BundleError(f"'{name}' names no twin")
    twins = importlib.import_module(f"cross_check.twins.{module}")
    if function not in twins.__all__:
        raise BundleError(f"'{name}' names no twin")
    return getattr(twins, function)


def loaded(twin: torch.nn.Module, weights: Mapping[str, np.ndarray], case: str) -> torch.nn.Module:
    """Return the twin with these weights; raises BundleError where they are not all of them."""
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    try:
        problems = twin.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise BundleError(f"{case}: {' '.join(str(error).split())}") from error
    # torch counts batches; MindSpore does not
    missing = [k for k in problems.missing_keys if not k.endswith("num_batches_tracked")]
    if missing or problems.unexpected_keys:
        raise BundleError(
            f"{case}: the twin lacks {problems.unexpected_keys[:1]} or misses {missing[:1]}"
        )
    return twin
