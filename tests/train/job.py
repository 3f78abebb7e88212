"""What each worker of a data-parallel test runs: `job.py FOLDER CASE...`.

A case trains a small network for 20 steps of 8 samples, shared by however many workers there are;
rank 0 writes the weights as FOLDER/CASE-WORKERS.npz. The tests run the same cases alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ms_eff import runtime
from ms_eff.runtime import DeviceSettings, Worker

TOGETHER, EPOCHS = 8, 4  # 40 samples: five steps an epoch
STOP_AT = 8


def main(folder: Path, names: list[str]) -> None:
    """Run the named cases one after the other."""
    worker = runtime.setup(DeviceSettings(target="cpu"))
    for name in names:
        found = CASES[name](worker, folder)
        if worker.rank == 0:
            np.savez(folder / f"{name}-{worker.size}.npz", **found)


def fit(worker: Worker, folder: Path, net, methods=(), feed=None, **options):
    """Train, and return the weights at the end."""
    from tests.train.helpers import small_feed, trainer, weights

    feed = feed or small_feed(train_size=40, augment="none", eval_batch_size=4)
    settings = feed.settings.model_copy(update={"global_batch_size": TOGETHER})
    feed = replace(feed, settings=settings.for_workers(worker.size), worker=worker)
    options = {"epochs": EPOCHS, "eval_every": EPOCHS, "save_every": EPOCHS, **options}
    trainer(folder, net, methods, feed, **options).fit()
    return weights(net)


def plain_net():
    """Return the small network without its batch normalisation."""
    from mindspore import nn

    from tests.train.helpers import small_net

    return nn.SequentialCell([c for c in small_net() if not isinstance(c, nn.BatchNorm2d)])


def _sgd(worker, folder):
    from tests.train.helpers import small_net

    options = {"optimizer": "sgd", "sync_batch_norm": True}
    return fit(worker, folder / "sgd", small_net(), **options)


def _adamw(worker, folder):
    return fit(worker, folder / "adamw", plain_net(), optimizer="adamw", lr=1e-3, clip_norm=1.0)


def _adamw_norm(worker, folder):
    from tests.train.helpers import small_net

    options = {"optimizer": "adamw", "lr": 1e-3, "sync_batch_norm": True, "ema": 0.9}
    return fit(worker, folder / "adamw_norm", small_net(), **options)


def _freeze(worker, folder):
    from tests.methods.lowrank.test_freezing import lowrank

    method, net = lowrank(kind="sequential", period=1)
    options = {"optimizer": "sgd", "sync_batch_norm": True, "lr": 0.01}
    return fit(worker, folder / "freeze", net, (method,), **options)


def _sam(worker, folder):
    from ms_eff.methods.small_data import SAM, SAMSettings

    return fit(worker, folder / "sam", plain_net(), (SAM(SAMSettings(rho=0.1)),), optimizer="sgd")


def _swiftlearn(worker, folder):
    from ms_eff.methods.swiftlearn import SwiftLearn, SwiftLearnSettings
    from tests.train.helpers import small_feed

    # two epochs of five steps, then of two and a half: 25 in all
    settings = SwiftLearnSettings(keep=0.4, warmup_epochs=2, reevaluate_every=2)
    feed = small_feed(train_size=40, augment="none", eval_batch_size=4)
    method = SwiftLearn(settings)
    found = fit(worker, folder / "swift", plain_net(), (method,), feed, optimizer="sgd", epochs=7)
    return found | {"subset": np.sort(method._subset)}


def _skipvit(worker, folder):
    from ms_eff.methods.base import ModelContext
    from ms_eff.methods.skipvit import SkipViT, SkipViTSettings
    from tests.methods.skipvit.networks import lively_vit
    from tests.train.helpers import small_feed

    method = SkipViT(SkipViTSettings(score_block=0, merge_block=3, warmup=0.0))
    net = method.change_model(lively_vit(), ModelContext((TOGETHER, 3, 16, 16)))
    feed = small_feed(train_size=40, augment="none", eval_batch_size=4, channels=3, image_size=16)
    return fit(worker, folder / "skipvit", net, (method,), feed, optimizer="sgd", lr=1e-3)


def _rail(worker, folder):
    from tests.methods.distillation.problems import language_feed, method, network, saved

    # as many teachers as workers, all alike
    path = folder / f"teacher-{worker.size}-{worker.rank}"
    rail = method("rail", teacher=str(saved(path, "gpt2", depth=3, seed=1)), width=4)
    net = network("gpt2", depth=2)
    found = fit(worker, folder / "rail", net, (rail,), language_feed(), optimizer="sgd", epochs=5)
    return found | {"drawn": rail.state()["drawn"]}


def _own_norms(worker, folder, parts: int = 2):
    """Each worker normalises its own part; alone, ghost normalisation does so in as many parts."""
    from mindspore import Tensor, nn

    from ms_eff.methods.small_data.ghost import apply_ghost_batch_norm
    from ms_eff.train.average import STATISTICS
    from ms_eff.train.optim import OptimizerState
    from ms_eff.train.settings import TrainSettings
    from ms_eff.train.step import Forward, Step, TrainStep
    from ms_eff.train.workers import average
    from tests.train.helpers import small_net, weights

    net, steps = small_net(), 20
    alone = worker.size == 1
    if alone:
        net = apply_ghost_batch_norm(net, parts)[0]
    net.set_train(True)
    step = Step(net, Forward(net, nn.CrossEntropyLoss()), tuple(net.trainable_params()))
    settings = TrainSettings(optimizer="momentum", lr=0.05)
    state = OptimizerState(step.weights, settings, np.full(steps, 0.05, np.float32))
    cell = TrainStep(step, state, world_size=worker.size)
    rng, each = np.random.default_rng(0), TOGETHER // (parts if alone else worker.size)
    # ghost normalisation puts sample i into part i mod parts, the workers take theirs in a row
    mine = np.arange(TOGETHER).reshape(parts, each).T.ravel() if alone else None
    mine = mine if alone else np.arange(worker.rank * each, (worker.rank + 1) * each)
    for _ in range(steps):
        inputs = rng.standard_normal((TOGETHER, 1, 8, 8), dtype=np.float32)
        labels = rng.integers(0, 3, TOGETHER).astype(np.int32)
        cell(Tensor(inputs[mine]), Tensor(labels[mine]))
    average([p for p in net.get_parameters() if p.name.endswith(STATISTICS)])
    return {name: array for name, array in weights(net).items() if "part_" not in name}


def stopping(worker, folder, name: str, at: int = STOP_AT):
    """Train until the last worker, and it alone, gets a signal; all must stop, and save."""
    from ms_eff.section import Section
    from ms_eff.train.interrupt import Interrupted
    from tests.train.test_trainer import StopAt

    stop = StopAt(Section())
    stop.at = at if worker.rank == worker.size - 1 else -1
    try:
        fit(worker, folder / name, plain_net(), (stop,), optimizer="momentum")
    except Interrupted as error:
        return {"code": np.array(error.code), "saved": np.array(error.saved.name)}
    raise AssertionError("it went on")


def taking_up(worker, folder, name: str):
    """Go on with a stopped run, whoever began it."""
    from ms_eff.section import Section
    from tests.train.test_trainer import StopAt

    stop = StopAt(Section())
    stop.at = -1
    return fit(worker, folder / name, plain_net(), (stop,), optimizer="momentum")


def _apart(worker, folder):
    """Only rank 0 sees the folder with the checkpoints, as on hosts that share no disk."""
    from ms_eff.errors import CheckpointError

    try:
        taking_up(worker, folder, "elsewhere" if worker.rank else "by_one")
    except CheckpointError as error:
        return {"said": np.array(str(error))}
    raise AssertionError("they went on")


CASES: dict[str, Callable[..., dict[str, np.ndarray]]] = {
    "sgd": _sgd,
    "adamw": _adamw,
    "adamw_norm": _adamw_norm,
    "freeze": _freeze,
    "sam": _sam,
    "swiftlearn": _swiftlearn,
    "skipvit": _skipvit,
    "rail": _rail,
    "own_norms": _own_norms,
    "stopped": lambda worker, folder: stopping(worker, folder, "by_several"),
    "apart": _apart,
    "taken_up": lambda worker, folder: taking_up(worker, folder, "by_one"),
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
