"""Weights in and out of a network, under its own or another library's names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ms_eff.errors import CheckpointError, ConfigError, nearest
from ms_eff.models.formats import read_arrays, write_arrays
from ms_eff.models.naming import NAMINGS
from ms_eff.models.renaming import Naming
from ms_eff.sources import source_of

if TYPE_CHECKING:
    from mindspore import Parameter, nn

    from ms_eff.models.settings import ModelSettings

__all__ = ["load_named", "load_weights", "save_weights"]

_OURS = "ours"

# (parameter, misshapen array) -> (array of the right shape, what was done), or None
Fit = Callable[[str, np.ndarray], tuple[np.ndarray, str] | None]


def load_weights(cell: nn.Cell, path: str | Path, *, strict: bool = True) -> list[str]:
    """Load a weight file into a network; either everything that fits is loaded or nothing.

    Names may be the network's own or those of a library in `ms_eff.models.naming`; which ones is
    found out. Values are cast to each parameter's dtype. A network with a method
    `fit_array(name, array)` may bring a misshapen array to its own shape (positions of another
    image size), which the notes then say. What lies under a network's `new_weights` (a head) may be
    missing or misshapen; it stays as it is.

    Args:
        cell: the network, of the same architecture as the file's.
        path: .safetensors, .pth/.pt (needs torch) or MindSpore's .ckpt.
        strict: refuse missing, unexpected and misshapen arrays; otherwise they are left out
            and named in the notes (a classifier for other classes, say).

    Returns:
        Notes for the user: whose names they were, what was left out.

    Raises:
        CheckpointError: missing or damaged file, or weights of another network.
        SetupError: .pth without torch.
    """
    path = Path(path)
    parameters = dict(cell.parameters_and_names())
    match = _best_match(read_arrays(path), parameters, getattr(cell, "fit_array", _unfit))
    match.allow_new(getattr(cell, "new_weights", ()))
    problems = match.problems(parameters)
    if not match.arrays or (strict and any(problems)):
        raise CheckpointError(
            f"{path}: not weights of this network ({match.library} names: "
            f"{len(match.arrays)} of {len(parameters)} arrays fit): {_summary(problems)}; build "
            f"the network that the file was made from{'' if not strict else _UNLESS_STRICT}"
        )
    for name, array in match.arrays.items():
        _assign(parameters[name], array)
    notes = [f"{path.name}: {len(match.arrays)} arrays, {match.library} names"]
    return notes + match.notes + [f"left out: {problem}" for kind in problems for problem in kind]


def load_named(cell: nn.Cell, settings: ModelSettings) -> list[str]:
    """Load the weight files that a config names for its network, if any.

    Returns:
        Notes for the user, as of `load_weights`.

    Raises:
        CheckpointError: a file is missing or damaged, or of another network.
    """
    notes: list[str] = []
    for key, load in (
        ("front_weights", lambda file: cell.net2d.load(file)),
        ("weights", lambda file: load_weights(cell, file)),
    ):
        file = getattr(settings, key)
        if file is None:
            continue
        if not file.exists():
            raise CheckpointError(f"model.{key} = {file}: no such file; {source_of(settings.name)}")
        notes += load(file)
    return notes


def save_weights(cell: nn.Cell, path: str | Path, *, naming: str = _OURS) -> None:
    """Write a network's weights, all or nothing.

    Args:
        cell: the network.
        path: .safetensors or .ckpt; replaced if it exists.
        naming: ``ours``, ``torchvision``, ``timm``, ``hf`` or ``mindcv``.

    Raises:
        ConfigError: unknown naming.
        CheckpointError: a parameter has no name there, or the file cannot be written.
    """
    arrays = {name: p.asnumpy() for name, p in cell.parameters_and_names()}
    if naming != _OURS:
        if naming not in NAMINGS:
            known = [_OURS, *NAMINGS]
            raise ConfigError(
                f"naming: unknown '{naming}'{nearest(naming, known)}; known: {', '.join(known)}"
            )
        arrays = _renamed(arrays, naming, Path(path))
    write_arrays(path, arrays)


@dataclass
class _Match:
    """A file's arrays under our names, and what did not fit."""

    library: str
    notes: list[str] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(self, name: str, array: np.ndarray, shape: tuple[int, ...], fit: Fit) -> None:
        """Take an array of the right shape, or one that the network can bring to it."""
        fitted = (array, "") if array.shape == shape else fit(name, array)
        if fitted is None:
            self.misshapen[name] = array.shape
            return
        self.arrays[name] = fitted[0]
        if fitted[1]:
            self.notes.append(fitted[1])

    def allow_new(self, prefixes: tuple[str, ...]) -> None:
        """Note what these weights have no array for instead of complaining."""
        lacking = [name for name in (*self.missing, *self.misshapen) if name.startswith(prefixes)]
        if lacking:
            self.notes.append(f"new, not in the file: {', '.join(lacking)}")
        self.missing = [name for name in self.missing if name not in lacking]
        self.misshapen = {k: v for k, v in self.misshapen.items() if k not in lacking}

    def problems(self, parameters: dict[str, Parameter]) -> tuple[list[str], ...]:
        """Describe misshapen, missing and unexpected arrays."""
        misshapen = [
            f"'{name}' expected shape {tuple(parameters[name].shape)}, found {shape}"
            for name, shape in self.misshapen.items()
        ]
        missing = [f"'{name}' is missing" for name in self.missing]
        return misshapen, missing, [f"'{name}' is unexpected" for name in self.unexpected]


_UNLESS_STRICT = ", or load with strict=False to take only what fits"


def _best_match(
    arrays: dict[str, np.ndarray], parameters: dict[str, Parameter], fit: Fit
) -> _Match:
    """Try every naming and keep the one under which most arrays have a parameter."""
    candidates: list[tuple[str, Naming | None]] = [(_OURS, None)]
    candidates += [(library, naming) for library, all_ in NAMINGS.items() for naming in all_]
    library, naming, found, names = max(
        ((library, naming, *_translated(arrays, naming)) for library, naming in candidates),
        key=lambda candidate: sum(ours in parameters for ours in candidate[3].values()),
    )
    match = _Match(library, [naming.note] if naming and naming.note else [])
    given = {ours: theirs for theirs, ours in names.items()}
    for name, parameter in parameters.items():  # in the network's order: the first is the earliest
        if name not in given:
            if naming is None or not naming.keeps(name):
                match.missing.append(name)
        else:
            match.add(name, found[given[name]], tuple(parameter.shape), fit)
    match.unexpected = [theirs for theirs, ours in names.items() if ours not in parameters]
    return match


def _translated(
    arrays: dict[str, np.ndarray], naming: Naming | None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the file's arrays, joined where they are one here, and the key -> our name.

    A key that no rule knows stays as it is.
    """
    if naming is None:
        return arrays, {key: key for key in arrays}
    joined = naming.join(arrays)
    return joined, {key: naming.to_ours(key) or key for key in joined if not naming.ignores(key)}


def _unfit(name: str, array: np.ndarray) -> None:
    """Say for networks without a `fit_array` that no array can be brought to another shape."""


def _summary(problems: tuple[list[str], ...]) -> str:
    """Name the first problem of each kind, then count the rest."""
    first = [kind[0] for kind in problems if kind]
    rest = sum(map(len, problems)) - len(first)
    return ", ".join(first) + (f" and {rest} more" if rest else "")


def _assign(parameter: Parameter, array: np.ndarray) -> None:
    import mindspore as ms

    parameter.set_data(ms.Tensor(np.asarray(array, order="C"), dtype=parameter.dtype))


def _renamed(arrays: dict[str, np.ndarray], library: str, path: Path) -> dict[str, np.ndarray]:
    for naming in NAMINGS[library]:
        named = naming.renamed(arrays)
        if named is not None:
            return named
    unknown = [[key for key in arrays if not n.to_theirs(key)] for n in NAMINGS[library]]
    raise CheckpointError(
        f"{path}: '{min(unknown, key=len)[0]}' has no name in {library}'s naming; "
        "save with naming='ours'"
    )
