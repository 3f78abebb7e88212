"""One process of the tests of kept graphs: `cached_run.py FOLDER CACHE SEED LR [TEACHER]`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ms_eff import runtime
from ms_eff.methods.distillation import Distillation, DistillationSettings
from ms_eff.train import graph_cache
from ms_eff.train.graph_cache import fingerprint
from tests.train.helpers import small_net, trainer, weights


def main(folder: Path, kept: Path | None, seed: int, rate: float, *teachers: str) -> None:
    """Train, by a teacher if there is one; write down the weights, and the name of the graph."""
    runtime.setup(runtime.DeviceSettings(target="cpu"))
    names = []

    def noted(*args):
        names.append(fingerprint(*args))
        return names[-1]

    graph_cache.fingerprint = noted
    methods = [Distillation(DistillationSettings(kind="vanilla", teacher=t)) for t in teachers]
    run = trainer(folder, small_net(seed), methods, epochs=1, lr=rate, momentum=rate)
    run.cache = kept
    run.fit()
    np.savez(folder / "found.npz", name=np.array(names), **weights(run.model))


if __name__ == "__main__":
    where, kept = Path(sys.argv[1]), None if sys.argv[2] == "-" else Path(sys.argv[2])
    main(where, kept, int(sys.argv[3]), float(sys.argv[4]), *sys.argv[5:])
