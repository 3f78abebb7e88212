"""Calibration statistics on disk: one file a layer, read when its turn comes; NumPy only.

Layers that are fed the same input share one matrix, kept with the first of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.files import read_json, replacing
from ms_eff.methods.lowrank.moments import Moments
from ms_eff.models.shards import Shards
from ms_eff.results import difference

__all__ = ["SavedMoments", "StatisticsWriter"]

_FORMAT = "ms_eff.moments/1"
_INDEX = "moments.json"
# beside moments that are not all there yet
_BEGUN, _BEGUN_FORMAT = "begun.json", "ms_eff.moments.begun/1"


class SavedMoments(Mapping[str, Moments]):
    """The moments of a folder, in float64, read from disk each time they are asked for.

    Raises:
        CheckpointError: there are none, or they are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = read_json(folder / _INDEX, CheckpointError)
        if not isinstance(index, dict) or index.get("format") != _FORMAT:
            raise CheckpointError(f"{folder / _INDEX}: no statistics of this version; delete it")
        self.made_from: dict[str, Any] = index["made_from"]
        self.owners: dict[str, str] = index["owners"]
        # how many were measured in fact; earlier versions did not say
        self.tokens: int | None = index.get("tokens")

    @staticmethod
    def held_by(folder: Path) -> bool:
        """Tell whether a folder holds statistics, whole."""
        return (folder / _INDEX).exists()

    def __getitem__(self, name: str) -> Moments:
        owner = self.owners[name]
        return Moments(self._array(owner, "inputs"), self._array(name, "gradients"))

    def inputs(self, name: str) -> np.ndarray:
        """Return G (C, C) of a layer alone."""
        return self._array(self.owners[name], "inputs")

    def gradients(self, name: str) -> np.ndarray:
        """Return F (S, S) of a layer alone."""
        return self._array(name, "gradients")

    def __iter__(self) -> Iterator[str]:
        return iter(self.owners)

    def __len__(self) -> int:
        return len(self.owners)

    def check(self, wanted: Mapping[str, Any]) -> None:
        """Refuse statistics that were made from something else; raises ConfigError."""
        changed = difference(self.made_from, dict(wanted))
        if changed:
            raise ConfigError(
                f"calibration.statistics = {self.folder}: made with other settings ({changed}); "
                "name another folder, or delete it"
            )

    def _array(self, name: str, which: str) -> np.ndarray:
        return Shards(self.folder / f"{name}.safetensors").array(which)


class StatisticsWriter:
    """Writes moments block by block; the index comes last, so that a folder is whole or not one.

    Nothing is deleted: a folder that holds anything else is refused, and what a writer of the same
    settings left when it was stopped is taken up.

    Args:
        folder: made if it is missing; new, empty, or begun by such a writer.
        made_from: what another run must agree on to use them.

    Raises:
        ConfigError: the folder holds something else.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.made_from = folder, dict(made_from)
        self.owners = self._taken_up()
        self._note()

    def add(self, moments: Mapping[str, Moments]) -> None:
        """Write some layers' moments; those that share an input hold the same array."""
        first: dict[int, str] = {}
        for name, found in moments.items():
            self.owners[name] = first.setdefault(id(found.inputs), name)
            arrays = {"gradients": found.gradients} if found.gradients is not None else {}
            if self.owners[name] == name:
                arrays["inputs"] = found.inputs
            with replacing(self.folder / f"{name}.safetensors") as temporary:
                save_file(arrays, temporary)
        self._note()

    def finish(self, tokens: int | None = None) -> SavedMoments:
        """Write the index; `tokens` is how many there were in fact."""
        self._write(_INDEX, _FORMAT, tokens=tokens)
        (self.folder / _BEGUN).unlink(missing_ok=True)
        return SavedMoments(self.folder)

    def _note(self) -> None:
        """Say whose folder this is, and what it has so far."""
        self._write(_BEGUN, _BEGUN_FORMAT)

    def _write(self, name: str, form: str, **more: Any) -> None:
        content = {"format": form, "made_from": self.made_from, "owners": self.owners, **more}
        with replacing(self.folder / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _taken_up(self) -> dict[str, str]:
        """Return what an earlier writer of these settings has written."""
        begun = self.folder / _BEGUN
        if not begun.exists():
            # locks and files that were never finished have names with a dot
            others = sorted(f.name for f in self.folder.iterdir() if not f.name.startswith("."))
            if others:
                raise ConfigError(
                    f"calibration.statistics = {self.folder}: holds other things "
                    f"('{others[0]}'); name a new or an empty folder"
                )
            return {}
        found = read_json(begun, CheckpointError)
        if not isinstance(found, dict) or found.get("format") != _BEGUN_FORMAT:
            raise ConfigError(
                f"calibration.statistics = {self.folder}: {_BEGUN} is none of this version; name "
                "another folder"
            )
        changed = difference(found["made_from"], self.made_from)
        if changed:
            raise ConfigError(
                f"calibration.statistics = {self.folder}: a calibration with other settings was "
                f"stopped here ({changed}); name another folder, or delete it"
            )
        return dict(found["owners"])
