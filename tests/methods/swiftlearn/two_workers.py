"""What each worker runs under msrun: train, then write down its subset, metric and weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ms_eff import runtime
from ms_eff.runtime import DeviceSettings


def train(folder: Path, batch: int) -> None:
    """Train a small network and save what this worker ends with as `rankN.npz`."""
    from ms_eff.methods.swiftlearn import SwiftLearn, SwiftLearnSettings
    from ms_eff.train.feed import Feed
    from tests.train.helpers import small_feed, small_net, trainer, weights

    worker = runtime.setup(DeviceSettings())
    feed = small_feed(train_size=49, batch_size=batch, augment="none")  # one is left over
    feed = Feed(feed.data, feed.settings, 0, worker)
    method = SwiftLearn(SwiftLearnSettings(keep=0.4, reevaluate_every=1))
    job = trainer(folder, small_net(), [method], feed, epochs=4, eval_every=4)
    job.fit()
    found = {"subset": method._subset, "metric": method._movements.metric}
    counts = {key: method.report[key] for key in ("samples_trained", "samples_evaluated")}
    form = {f"form_{key}": value for key, value in method.report["closed_form"].items()}
    np.savez(folder / f"rank{worker.rank}.npz", **found, **counts, **form, **weights(job.model))


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]))
