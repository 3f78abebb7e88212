"""One process of the test of graphs that are kept: `cached_run.py FOLDER CACHE SEED LR`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ms_eff import runtime
from ms_eff.train import graph_cache
from ms_eff.train.graph_cache import fingerprint
from tests.train.helpers import small_net, trainer, weights


def main(folder: Path, kept: Path | None, seed: int, rate: float) -> None:
    """Train, and write down the weights, and the name of the graph."""
    runtime.setup(runtime.DeviceSettings(target="cpu"))
    names = []

    def noted(*args):
        names.append(fingerprint(*args))
        return names[-1]

    graph_cache.fingerprint = noted
    run = trainer(folder, small_net(seed), epochs=1, lr=rate, momentum=rate)
    run.cache = kept
    run.fit()
    np.savez(folder / "found.npz", name=np.array(names), **weights(run.model))


if __name__ == "__main__":
    where, kept = Path(sys.argv[1]), Path(sys.argv[2])
    main(where, kept if sys.argv[2] != "-" else None, int(sys.argv[3]), float(sys.argv[4]))
