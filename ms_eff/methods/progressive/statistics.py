"""Calibration statistics on disk: one file a layer, read when its turn comes; NumPy only.

Layers that are fed the same input share one matrix, kept with the first of them.
"""

from __future__ import annotations

import json
import shutil
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

    Args:
        folder: made if it is missing, emptied if not.
        made_from: what another run must agree on to use them.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder, self.made_from = folder, dict(made_from)
        self.owners: dict[str, str] = {}

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

    def finish(self) -> SavedMoments:
        """Write the index."""
        index = {"format": _FORMAT, "made_from": self.made_from, "owners": self.owners}
        with replacing(self.folder / _INDEX) as temporary:
            temporary.write_text(json.dumps(index, indent=1), encoding="utf-8")
        return SavedMoments(self.folder)
