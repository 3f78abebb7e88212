"""A run: config -> data, model, methods, training -> results, each stage kept and reused.

Where things lie in its output folder: `ms_eff.run_folder`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import nn
from rich.console import Console

from ms_eff import data, models, runtime
from ms_eff.bench import counts, environment
from ms_eff.config import Config
from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.inputs import check_inputs, model_args
from ms_eff.methods.base import Method, ModelContext
from ms_eff.methods.registry import check_batches, check_conflicts, check_task, method_class
from ms_eff.models.weights import load_named
from ms_eff.results import Results
from ms_eff.run_folder import RunFolder
from ms_eff.train import checkpoint
from ms_eff.train.evaluate import Scored
from ms_eff.train.feed import Feed
from ms_eff.train.precision import resolve
from ms_eff.train.settings import TrainSettings
from ms_eff.train.sink import require_queue
from ms_eff.train.tasks import task_of
from ms_eff.train.trainer import Trainer

__all__ = ["Experiment"]


class Experiment:
    """One config at work in its output folder.

    Args:
        config: validated settings.
        command: the line that started this, for the results.
        console: where to tell what happens.
        fresh: start over, forgetting what the folder holds.
    """

    def __init__(
        self, config: Config, command: str, console: Console | None = None, fresh: bool = False
    ) -> None:
        self.command = command
        self.worker = runtime.setup(config.device)
        self.config = config = config.model_copy(
            update={"data": config.data.for_workers(self.worker.size)}
        )
        runtime.set_seed(config.seed)
        self.console = console or Console(stderr=True, quiet=self.worker.rank > 0)
        self.output = RunFolder(config, self.worker)
        self.folder = config.output
        self.output.claim(fresh)
        self.results = Results(
            self.folder / "results.json",
            environment.describe(command, config.seed),
            config.to_dict(),
        )
        if any(block.sink for block in (config.pretrain, config.train) if block):
            require_queue()
        self.data = data.build(config.data)
        self.task = task_of(self.data)
        check_inputs(config, self.data)
        self.feed = Feed(self.data, config.data, config.seed, self.worker)
        self.methods: list[Method] = [
            method_class(name)(settings, config.seed) for name, settings in config.method_settings()
        ]
        if config.pretrain is not None or config.model.weights is not None:
            for method in self.methods:
                method.dense = self.output.model("dense")
        check_conflicts(self.methods, config.train.time_budget is not None)
        check_task(self.methods, self.data.task)
        check_batches(self.methods, self.config.data.batch_size, self.config.data.drop_last)

    def train(self) -> Results:
        """Do the whole job: dense training, methods, training with them; reuse what is there."""
        self._check_methods()
        model, description, trained = self._dense()
        began = time.monotonic()
        model = self._change(model, description, trained)
        # a trained network's change is a stage of its own; a new one's is part of its training
        spent = 0.0 if trained else time.monotonic() - began
        self._train(model, description, "fine-tuned" if trained else "trained", spent)
        return self.results

    def compress(self) -> Results:
        """Change a trained model (weights or pretrain) by its methods, without training it."""
        if self.config.pretrain is None and self.config.model.weights is None:
            raise ConfigError(
                "model.weights: nothing to compress; give a weight file, or a `pretrain` section"
            )
        self._check_methods()
        model, description, trained = self._dense()
        self._change(model, description, trained)
        for method in self.methods:
            if type(method).change_model is Method.change_model:
                self.console.print(
                    f"{method.name}: acts in training; `ms-eff train` carries it out"
                )
        return self.results

    def evaluate(self, path: Path | None = None) -> dict[str, Scored]:
        """Evaluate a checkpoint folder, or every model this run has made."""
        found = {str(path): checkpoint.rebuild(path)} if path else dict(self.saved_models())
        return {stage: self._score(model) for stage, model in found.items()}

    def saved_models(self) -> Iterator[tuple[str, nn.Cell]]:
        """Yield (stage, network) for every model of this run, in the order they were made."""
        stages = [s for s in self.results.stages if self.output.model(s).is_dir()]
        if not stages:
            raise CheckpointError(
                f"{self.folder}: no trained model here; run `ms-eff train` with this config first"
            )
        for stage in stages:
            yield stage, checkpoint.rebuild(self.output.model(stage))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch axis."""
        return tuple(self.data.image_shape)

    def new_model(self) -> nn.Cell:
        """Return the config's network with new weights, before any method."""
        settings = self.config.model
        args = model_args(self.config, self.data)
        return models.build(settings.name, **args, seed=self.config.seed)

    def untouched_model(self) -> nn.Cell:
        """Return the network before any method, untrained if this run has not trained it yet."""
        if self._has("dense"):
            return checkpoint.rebuild(self.output.model("dense"))
        model = self.new_model()
        load_named(model, self.config.model)
        return model

    # stages

    def _dense(self) -> tuple[nn.Cell, dict[str, Any], bool]:
        """Return the network before any method: trained here, loaded, or new."""
        settings = self.config.model
        args = model_args(self.config, self.data)
        description: dict[str, Any] = {"model": {"name": settings.name, "args": args}, "plans": []}
        if self._has("dense"):
            return checkpoint.rebuild(self.output.model("dense")), description, True
        model = self.new_model()
        for note in load_named(model, settings):
            self.console.print(note)
        if self.config.pretrain is not None:
            self.console.print(f"[bold]dense[/]: training {settings.name}")
            rows = self._fit(model, description, self.config.pretrain, "pretrain", [])
            self._keep("dense", model, description, rows)
        elif settings.weights:
            self._keep("dense", model, description, [])
        return model, description, bool(settings.weights) or self.config.pretrain is not None

    def _change(self, model: nn.Cell, description: dict[str, Any], trained: bool) -> nn.Cell:
        """Let each method change the model, or rebuild what an earlier call made of it."""
        saved = self._changed_stage()
        if saved is not None:
            found = checkpoint.read(self.output.model(saved))
            plans = {entry["method"]: entry["plan"] for entry in found.state["plans"]}
            for method in self.methods:
                method.plan = plans.get(method.name)
            description["plans"] = found.state["plans"]
            return checkpoint.rebuild(found)
        context = self._context(trained)
        for method in self.methods:
            model = method.change_model(model, context)
            if method.plan is not None:
                description["plans"].append({"method": method.name, "plan": method.plan})
            if method.report is not None:
                self.results.methods[method.name] = method.report
        if description["plans"]:
            # an untrained network's score says nothing, and its seconds are a time budget's
            self._keep(self._stage_name(), model, description, [] if trained else None)
        return model

    def _context(self, trained: bool) -> ModelContext:
        shape = (self.config.data.batch_size, *self.input_shape)
        precision = resolve(self.config.train.precision)
        return ModelContext(shape, self.calibration, None, trained, precision)

    def _check_methods(self) -> None:
        checking = [m for m in self.methods if type(m).check is not Method.check]
        if self._changed_stage() is not None or not checking:
            return  # carried out before, or nothing to ask
        dense = model = self.new_model()
        context = replace(self._context(trained=True), dense=dense)
        for method in self.methods:
            method.epochs = self.config.train.epochs
            model = method.check(model, context)
        runtime.set_seed(self.config.seed)  # as if no network had been made yet

    def _train(self, model: nn.Cell, description: dict[str, Any], stage: str, spent: float) -> None:
        if self._has(stage):
            self.console.print(f"{self.folder}: already trained ({stage}); nothing to do")
            return
        self.console.print(f"[bold]{stage}[/]: training")
        settings = self.config.train
        rows = self._fit(model, description, settings, "train", self.methods, spent)
        for method in self.methods:  # some know only now what they did
            if method.report is not None:
                self.results.methods[method.name] = method.report
        self._keep(stage, model, description, rows)

    def _fit(
        self,
        model: nn.Cell,
        description: dict[str, Any],
        settings: TrainSettings,
        folder: str,
        methods: list[Method],
        spent: float = 0.0,
    ) -> list[dict[str, Any]]:
        self.output.sign()
        return Trainer(
            model,
            self.feed,
            settings,
            self.folder / folder,
            description=description,
            methods=methods,
            console=self.console,
            cache=self.config.device.cache,
            spent=0.0 if settings.time_budget is None else spent,
        ).fit()

    def _keep(
        self, stage: str, model: nn.Cell, description: dict[str, Any], rows: list[Any] | None
    ) -> None:
        """Save a stage's model and its score, none if `rows` is None; the model last, as a mark."""
        measures = {} if rows is None else self._measures(model, rows)
        total = counts.totals(counts.count(model, (1, *self.input_shape)))
        self.results.stages[stage] = {
            **measures,
            "params": total["params"],
            "macs": total["macs"],
            "curve": rows or [],
            "environment": self.results.environment,
        }
        self.console.print(
            f"[bold]{stage}[/]: {self.task.told(measures) + ' · ' if measures else ''}"
            f"{total['params']:,} parameters · {total['macs'] / 1e6:.1f} M MACs"
        )
        self.output.sign()
        if self.worker.rank == 0:
            self.results.write()
            weights = {p.name: p.asnumpy() for p in model.get_parameters()}
            checkpoint.save(self.output.model(stage), weights, description)

    def _damaged(self, rows: list[dict[str, Any]], samples: int) -> dict[str, dict[str, int]]:
        """Return how many files of each split were skipped so far, where that is allowed."""
        now = self.feed.damaged()
        if now is None:
            return {}
        train = max(now, *(row.get("damaged", 0) for row in rows), 0)
        return {"damaged": {"train": train, "test": len(self.data.test) - samples}}

    def _measures(self, model: nn.Cell, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what training itself found at its end, or else what the model scores now."""
        keys = (self.task.metric, "loss", "samples")
        if rows and all(key in rows[-1] for key in keys):
            found = {key: rows[-1][key] for key in keys}
        else:
            score = self._score(model)
            found = {**score.measures(), "samples": score.samples}
        return found | self._damaged(rows, found["samples"])

    def _score(self, model: nn.Cell) -> Scored:
        return self.task.evaluate(model, self.feed.test(), self.config.train.mirror_test)

    def calibration(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield training batches without augmentation, in a fixed random order."""
        split, size = self.data.train, self.config.data.batch_size
        order = np.random.default_rng(self.config.seed).permutation(len(split))
        for start in range(0, len(order) - size + 1, size):
            images, labels = split.batch(order[start : start + size], None)
            yield images, labels

    # what is there

    def _has(self, stage: str) -> bool:
        return self.output.model(stage).is_dir() and stage in self.results.stages

    def _stage_name(self) -> str:
        return next((m.stage for m in self.methods if m.plan is not None), "compressed")

    def _changed_stage(self) -> str | None:
        return next((m.stage for m in self.methods if self._has(m.stage)), None)
