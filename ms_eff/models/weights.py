"""Weights in and out of a network, under its own or another library's names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ms_eff.errors import CheckpointError, ConfigError, nearest
from ms_eff.models.formats import read_arrays, write_arrays
from ms_eff.models.naming import NAMINGS, Naming

if TYPE_CHECKING:
    from mindspore import Parameter, nn

__all__ = ["load_weights", "save_weights"]

_OURS = "ours"


def load_weights(cell: nn.Cell, path: str | Path, *, strict: bool = True) -> list[str]:
    """Load a weight file into a network; either everything that fits is loaded or nothing.

    Names may be the network's own or those of a library in `ms_eff.models.naming`; which ones is
    found out. Values are cast to each parameter's dtype.

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
    match = _best_match(read_arrays(path), parameters)
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
    if match.note:
        notes.append(match.note)
    return notes + [f"left out: {problem}" for kind in problems for problem in kind]


def save_weights(cell: nn.Cell, path: str | Path, *, naming: str = _OURS) -> None:
    """Write a network's weights, all or nothing.

    Args:
        cell: the network.
        path: .safetensors or .ckpt; replaced if it exists.
        naming: ``ours``, ``torchvision``, ``hf`` or ``mindcv``.

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
    note: str = ""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def problems(self, parameters: dict[str, Parameter]) -> tuple[list[str], ...]:
        """Describe misshapen, missing and unexpected arrays."""
        misshapen = [
            f"'{name}' expected shape {tuple(parameters[name].shape)}, found {shape}"
            for name, shape in self.misshapen.items()
        ]
        missing = [f"'{name}' is missing" for name in self.missing]
        return misshapen, missing, [f"'{name}' is unexpected" for name in self.unexpected]


_UNLESS_STRICT = ", or load with strict=False to take only what fits"


def _best_match(arrays: dict[str, np.ndarray], parameters: dict[str, Parameter]) -> _Match:
    """Try every naming and keep the one under which most arrays have a parameter."""
    candidates: list[tuple[str, Naming | None]] = [(_OURS, None)]
    candidates += [(library, naming) for library, all_ in NAMINGS.items() for naming in all_]
    translations = [
        (library, naming, _translated(arrays, naming)) for library, naming in candidates
    ]
    library, naming, names = max(
        translations, key=lambda t: sum(ours in parameters for ours in t[2].values())
    )
    match = _Match(library, naming.note if naming else "")
    given = {ours: theirs for theirs, ours in names.items()}
    for name, parameter in parameters.items():  # in the network's order: the first is the earliest
        if name not in given:
            match.missing.append(name)
        elif arrays[given[name]].shape == tuple(parameter.shape):
            match.arrays[name] = arrays[given[name]]
        else:
            match.misshapen[name] = arrays[given[name]].shape
    match.unexpected = [theirs for theirs, ours in names.items() if ours not in parameters]
    return match


def _translated(arrays: dict[str, np.ndarray], naming: Naming | None) -> dict[str, str]:
    """Return the file's key -> our name; a key that no rule knows stays as it is."""
    if naming is None:
        return {key: key for key in arrays}
    return {key: naming.to_ours(key) or key for key in arrays if not naming.ignores(key)}


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
        names = {key: naming.to_theirs(key) for key in arrays}
        if all(names.values()):
            return {str(names[key]): array for key, array in arrays.items()}
    unknown = next(key for key, name in names.items() if name is None)
    raise CheckpointError(
        f"{path}: '{unknown}' has no name in {library}'s naming; save with naming='ours'"
    )
