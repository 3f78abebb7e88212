"""What `ms-eff bench`, `export` and `report` do with a run's models and data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from mindspore import nn
from rich.table import Table

from ms_eff.bench import latency
from ms_eff.bench.layers import network_dtype, network_work
from ms_eff.bench.replaced import layer_latencies
from ms_eff.bench.steps import plain_step
from ms_eff.bench.whole import network_timing
from ms_eff.deploy.aipp import write_aipp
from ms_eff.deploy.export import export
from ms_eff.deploy.folding import fold_norms, norms_left
from ms_eff.deploy.inputs import InputSpec
from ms_eff.errors import ConfigError, nearest
from ms_eff.experiment import Experiment
from ms_eff.methods.lowrank.layer_timers import MeasuredLayers
from ms_eff.methods.lowrank.layers import find_layers
from ms_eff.methods.lowrank.profile import merged, read_profiles, write_profiles
from ms_eff.methods.lowrank.search import search_ranks
from ms_eff.methods.lowrank.settings import (
    LowRankSettings,
    RankSearch,
    timed_precision,
    to_record,
)
from ms_eff.methods.skipvit.surgery import kept_patches
from ms_eff.report.parts import Part
from ms_eff.report.patches import kept_part
from ms_eff.report.terminal import terminal_table
from ms_eff.train.precision import in_precision, resolve

__all__ = ["bench_run", "export_run", "pictures_run", "ranks_run"]

_REAL_IMAGES = 16  # test images an exported file is compared on, besides random inputs
_PICTURES = 8


def bench_run(experiment: Experiment) -> Table:
    """Time forward and training step of every model of the run, in turns; returns the table."""
    settings = experiment.config.bench
    models = dict(experiment.saved_models())
    found = latency.measure(
        models,
        (settings.batch_size, *experiment.input_shape),
        kinds=("forward", "train_step") if settings.train_step else ("forward",),
        warmup=settings.warmup,
        runs=settings.runs,
        make_step=lambda model: plain_step(
            model, experiment.config.train, settings.warmup + settings.runs
        ),
        seed=experiment.config.seed,
    )
    for stage, kinds in found.items():
        experiment.results.stages[stage]["latency"] = kinds
    _bench_layers(experiment, models)
    experiment.results.write()
    return terminal_table(experiment.results.to_dict())


def _bench_layers(experiment: Experiment, models: dict[str, nn.Cell]) -> None:
    """Note, for every layer a method changed, the forward time of it and of what replaced it."""
    settings = experiment.config.bench
    changed = next((stage for stage in models if stage not in ("dense", "trained")), None)
    if "dense" not in models or changed is None:
        return
    for report in experiment.results.methods.values():
        rows = [row for row in report.get("layers", []) if row.get("decomposed")]
        times = layer_latencies(
            models["dense"],
            models[changed],
            [row["layer"] for row in rows],
            (settings.batch_size, *experiment.input_shape),
            warmup=settings.warmup,
            runs=settings.runs,
        )
        for row in rows:
            if row["layer"] in times:
                before, after = times[row["layer"]]
                row |= {"latency_before_ms": before, "latency_after_ms": after}


def ranks_run(experiment: Experiment) -> str:
    """Record the latency profile that the config's rank search needs; returns what was done.

    Profiles of other conditions in the same file stay. Start ranks that a budget finds depend on
    the weights: the run's dense network is taken where there is one. What was timed is written even
    if the search then ends with an error, such as a latency budget out of reach.

    Raises:
        ConfigError: the config has no lowrank method.
        PlanError: the budget is out of reach; or the file there is of an older format.
    """
    settings = dict(experiment.config.method_settings()).get("lowrank")
    if not isinstance(settings, LowRankSettings):
        raise ConfigError("bench ranks: the config's methods have no lowrank; add one")
    path = experiment.folder / "latency_profile.json"
    known = read_profiles(path) if path.exists() else []  # a damaged one is refused before the work
    settings = to_record(settings)
    search = settings.rank_search or RankSearch()
    shape = (experiment.config.data.batch_size, *experiment.input_shape)
    level = timed_precision(settings, resolve(experiment.config.train.precision))
    network = in_precision(experiment.untouched_model(), level)
    layers = find_layers(network)
    timer = MeasuredLayers.here(search, shape[0], network_dtype(layers))
    work = network_work(network, layers, shape)
    whole = network_timing(network, shape, search.objective, search.warmup, search.runs)
    timer.profile.networks[search.objective, work] = whole
    try:
        search_ranks(
            network, settings, input_shape=shape, timer=timer, calibration=experiment.calibration()
        )
    finally:
        write_profiles(path, merged([timer.profile, *known]))
    return (
        f"{path}: the network and {len(timer.profile.curves)} distinct layers timed for objective "
        f"{search.objective} ({timer.profile.conditions})"
    )


def export_run(
    experiment: Experiment, stages: Sequence[str] | None, aipp: bool = False
) -> Iterator[str]:
    """Export the run's models; yield a line a file. Default: the last model made.

    Args:
        experiment: the run.
        stages: which models.
        aipp: first write `export/aipp.cfg`, by which an Ascend 310 normalises pictures itself.

    Raises:
        ConfigError: no such stage, or AIPP for samples that are no pictures.
        VerificationError: a file does not reproduce its model; it is not written.
    """
    models = dict(experiment.saved_models())
    wanted = stages or list(models)[-1:]
    for stage in wanted:
        if stage not in models:
            known = ", ".join(models)
            raise ConfigError(f"--stage {stage}: no such model{nearest(stage, models)}; {known}")
    if aipp:
        data, path = experiment.data, experiment.folder / "export" / "aipp.cfg"
        yield f"{write_aipp(path, data.mean, data.std, data.image_shape)}: for bytes as input"
    for stage in wanted:
        yield from _export_one(experiment, stage, models[stage])


def pictures_run(experiment: Experiment) -> list[Part]:
    """Return parts of the report that show what the last model made of real test images.

    Token skipping by attention has one: the patches it kept, of one image a class.
    """
    plan = experiment.results.methods.get("skipvit", {})
    if plan.get("score") != "cls_attention" or not plan["dropped"]:
        return []
    *_, (_, model) = experiment.saved_models()
    data = experiment.data
    _, chosen = np.unique(data.test.labels, return_index=True)  # the first of each class
    chosen = chosen[:_PICTURES]
    images, labels = data.test.batch(chosen)
    kept = kept_patches(model, np.asarray(images, np.float32))
    std, mean = (np.reshape(values, (-1, 1, 1)) for values in (data.std, data.mean))
    pixels = np.clip(images * std + mean, 0, 1).astype(np.float32)
    names = [data.classes[label] for label in labels]
    return [kept_part(pixels, names, kept, plan, model.grid)]


def _export_one(experiment: Experiment, stage: str, model: nn.Cell) -> Iterator[str]:
    settings = experiment.config.export
    images, *_ = experiment.data.test.batch(np.arange(min(_REAL_IMAGES, len(experiment.data.test))))
    folder = experiment.folder / "export"
    if settings.fold_norms:
        model, gone = fold_norms(model, (1, *experiment.input_shape))
        left = norms_left(model)
        stay = f"; {len(left)} stay, such as '{left[0]}'" if left else ""
        yield f"{stage}: {len(gone)} batch normalisations folded{stay}"
    record = experiment.results.stages[stage].setdefault("export", {})
    for kind in settings.formats:
        done = export(
            model,
            folder / f"{stage}.{kind}",
            (InputSpec.of(model, (settings.batch_size, *experiment.input_shape)),),
            kind,
            dynamic_batch=settings.dynamic_batch,
            real_inputs=images,
            tolerance=settings.tolerance,
            seed=experiment.config.seed,
            command=experiment.command,
        )
        record[kind] = done.to_dict()
        experiment.results.write()  # now: the file is there even if the next one fails
        yield (
            f"{done.path}: verified, largest difference {done.difference.max_abs:.2e} "
            f"(tolerance {done.tolerance:g}, {done.difference.samples} samples)"
        )
