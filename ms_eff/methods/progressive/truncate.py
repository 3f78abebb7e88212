"""A model's matrices in nested factors, one at a time, kept on disk for every size to come.

NumPy and SciPy on the host, in float64. Factors are kept in float32, which is what members store;
scaling is by component, so that cutting them and rounding them change places freely. A folder says
what its factors were made from, and is refused for anything else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from ms_eff.errors import ConfigError
from ms_eff.files import read_json, replacing
from ms_eff.methods.lowrank.core import matmul
from ms_eff.methods.lowrank.criteria import Criterion, damped_gradients, damped_inputs
from ms_eff.methods.lowrank.roots import InputMoment, Root, Triangle, output_root
from ms_eff.methods.lowrank.weighted import Nested, nested_factors
from ms_eff.methods.progressive.core import highest_rank
from ms_eff.methods.progressive.identity import model_digest
from ms_eff.methods.progressive.statistics import SavedMoments
from ms_eff.models.shards import Shards
from ms_eff.results import difference

__all__ = [
    "Arrays",
    "Cut",
    "Decomposed",
    "Pair",
    "Ranks",
    "Whitening",
    "decompose",
    "truncated_pair",
]

Floats = NDArray[np.float64]
Pair = tuple[np.ndarray, np.ndarray]
Ranks = Mapping[str, int | None]

_MADE_FROM = "made_from.json"


class Arrays(Protocol):
    """Anything that gives a model's arrays one by one: a parent on disk, or one in memory."""

    def array(self, name: str) -> np.ndarray:
        """Return one array."""


class Whitening:
    """The moments that a rule needs of each layer; the last input's is kept for the next layer.

    Args:
        criterion: `weight`, `activation` or `two_sided`.
        moments: the statistics; None for `weight`.
    """

    def __init__(self, criterion: str, moments: SavedMoments | None) -> None:
        self.criterion, self.moments = criterion, moments
        self._last: tuple[str, InputMoment] | None = None

    @property
    def made_from(self) -> dict[str, Any]:
        """The rule, and what its statistics were made from."""
        found = self.moments.made_from if self.moments is not None else None
        return {"rule": self.criterion, "statistics": found}

    def inputs(self, name: str) -> InputMoment | None:
        """Return G, or None for I."""
        if self.moments is None or self.criterion == "weight":
            return None
        owner = self.moments.owners[name]
        if self._last is None or self._last[0] != owner:
            self._last = owner, InputMoment(damped_inputs(self.moments.inputs(name)))
        return self._last[1]

    def gradients(self, name: str) -> Root | Triangle | None:
        """Return the root of F, or None for I."""
        if self.moments is None or self.criterion != "two_sided":
            return None
        return output_root(damped_gradients(self.moments.gradients(name)))


class Decomposed:
    """The factors of all matrices in a folder, up to the highest rank that saves anything.

    Args:
        folder: made if it is missing.
        criterion: what their losses are of.
        made_from: source, rule and statistics, as JSON.

    Raises:
        ConfigError: the folder holds factors made from something else, or not known from what.
    """

    def __init__(self, folder: Path, criterion: str, made_from: Mapping[str, Any]) -> None:
        self.folder, self.by, self.made_from = folder, Criterion(criterion), dict(made_from)
        folder.mkdir(parents=True, exist_ok=True)
        record = folder / _MADE_FROM
        if record.exists():
            changed = difference(read_json(record, ConfigError), self.made_from)
        else:
            held = any(folder.glob("*.safetensors"))
            changed = f"it has no {_MADE_FROM}" if held else ""
        if changed:
            raise ConfigError(
                f"{folder}: holds factors that were made from something else ({changed}); delete "
                "that folder, and they are made anew"
            )
        with replacing(record) as temporary:
            temporary.write_text(json.dumps(self.made_from, indent=1), encoding="utf-8")

    def file(self, name: str) -> Path:
        """Return where a matrix's factors are."""
        return self.folder / f"{name}.safetensors"

    def energies(self, name: str) -> Floats:
        """Return what each rank adds, and what the highest leaves out, as `Nested` has them."""
        return Shards(self.file(name)).array("energies")

    def losses(self, name: str) -> Floats:
        """Return what ranks 1, 2, .. lose, as a shared budget counts it."""
        return self.by.losses(np.sqrt(self.energies(name)))[:-1]

    def pair(self, name: str, rank: int) -> Pair:
        """Return `first` (rank, C) and `last` (S, rank) in float32."""
        found = Shards(self.file(name))
        last = np.ascontiguousarray(found.array("last")[:, :rank])
        return found.array("first")[:rank], last

    def save(self, name: str, nested: Nested) -> None:
        """Keep the factors of a matrix."""
        arrays = {
            "first": nested.first.astype(np.float32),
            "last": np.ascontiguousarray(nested.last, dtype=np.float32),
            "energies": nested.energies,
        }
        with replacing(self.file(name)) as temporary:
            save_file(arrays, temporary)


class Cut(Mapping[str, Pair]):
    """Factors on disk, cut to their ranks as they are asked for.

    Args:
        factors: of all matrices.
        ranks: by matrix; those with None stay whole and have no pair here.
    """

    def __init__(self, factors: Decomposed, ranks: Ranks) -> None:
        self.factors = factors
        self.ranks = {name: rank for name, rank in ranks.items() if rank is not None}

    def __getitem__(self, name: str) -> Pair:
        return self.factors.pair(name, self.ranks[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.ranks)

    def __len__(self) -> int:
        return len(self.ranks)


def decompose(
    source: Arrays,
    shapes: Mapping[str, tuple[int, int]],
    whitening: Whitening,
    folder: Path,
    after_matrix: Callable[[str], None] = lambda name: None,
) -> Decomposed:
    """Decompose every matrix once, for all ranks; what the folder holds already is kept.

    Memory: one matrix, its statistics and its factors, whatever the model's size.

    Args:
        source: gives `<name>.weight` (S, C).
        shapes: of the matrices, by layer name, those of one input behind each other.
        whitening: the rule.
        folder: made if it is missing; it belongs to one source, rule and statistics.
        after_matrix: told the name of each matrix as it is done.

    Raises:
        ConfigError: the folder belongs to others.
    """
    made_from = {"source": model_digest(source, shapes), **whitening.made_from}
    result = Decomposed(folder, whitening.criterion, made_from)
    for name, shape in shapes.items():
        if not result.file(name).exists():
            weight = source.array(f"{name}.weight")
            sides = whitening.inputs(name), whitening.gradients(name)
            result.save(name, nested_factors(weight, highest_rank(shape), *sides))
        after_matrix(name)
    return result


def truncated_pair(
    first: np.ndarray,
    last: np.ndarray,
    rank: int,
    inputs: InputMoment | None = None,
    gradients: Root | Triangle | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return factors of a lower rank by truncating the second alone: depth stays two (ENLSP 2021).

    In this orientation W0 is `first^T` and W1 is `last^T`: W1 becomes A B, and A goes into the
    first. With the inputs' G, the second is judged by what the first hands it, `first G first^T`
    (ours); that optimum is the one of the product too.

    Args:
        first: (R, C), applied first.
        last: (S, R), applied last.
        rank: at most R.
        inputs: G (C, C); None for I.
        gradients: `output_root` of F (S, S); None for I.

    Raises:
        ValueError: the rank is above R.

    >>> [f.shape for f in truncated_pair(np.eye(2, 3), np.diag([2.0, 1.0]), 1)]
    [(1, 3), (2, 1)]
    """
    held = len(first)
    if not 1 <= rank <= held:
        raise ValueError(f"rank: expected 1 to {held}, the rank that is held, got {rank}")
    if rank == held:
        return first, last
    W0 = first.astype(np.float64)
    handed = None
    if inputs is not None:
        handed = InputMoment(matmul(W0, matmul(inputs.matrix, W0.T)))
    found = nested_factors(last, rank, handed, gradients)
    return matmul(found.first, W0).astype(np.float32), found.last.astype(np.float32)
