"""What each worker runs under msrun: train on clips some of which are damaged, note the counts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ms_eff import runtime
from ms_eff.runtime import DeviceSettings


def train(folder: Path) -> None:
    """Train one epoch on FOLDER/videos and save what this worker has met and counted."""
    from mindspore import nn

    from ms_eff import data
    from ms_eff.data import DataSettings
    from ms_eff.train.feed import Feed
    from tests.train.helpers import trainer

    worker = runtime.setup(DeviceSettings(target="cpu"))
    settings = DataSettings(
        name="video_folder", root=folder / "videos", image_size=8, frames=2, batch_size=2,
        workers=0, corrupt="skip",
    )  # fmt: skip
    feed = Feed(data.build(settings), settings, 0, worker)
    net = nn.SequentialCell(nn.Flatten(), nn.Dense(2 * 3 * 8 * 8, 2, weight_init="zeros"))
    run = trainer(folder / "run", net, (), feed, epochs=1)
    run.fit()
    history = run.progress.history
    np.savez(
        folder / f"rank{worker.rank}.npz",
        met=np.array(sorted(feed.data.train.damaged), np.int64),
        counted=[row["damaged"] for row in history],
        scored=[row["samples"] for row in history],
        now=feed.damaged(),
        weight=net[1].weight.asnumpy(),
    )


if __name__ == "__main__":
    train(Path(sys.argv[1]))
