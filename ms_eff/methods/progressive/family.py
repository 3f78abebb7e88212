"""A family at work: parent -> statistics -> factors -> members, each kept and reused.

Where things lie in its output folder: `family_folder.py`.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mindspore import nn
from rich.console import Console

from ms_eff import runtime
from ms_eff.data.language import Blocks, check_vocabulary, encode_files
from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.files import read_json, replacing
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.progressive.core import (
    block_shapes,
    kept_weights,
)
from ms_eff.methods.progressive.family_folder import FamilyFolder
from ms_eff.methods.progressive.fit import check_fit
from ms_eff.methods.progressive.members import (
    build_member,
    description,
    member_texts,
)
from ms_eff.methods.progressive.recovery import Recovery, steps_for
from ms_eff.methods.progressive.scoring import Judge
from ms_eff.methods.progressive.settings import FamilyConfig
from ms_eff.methods.progressive.truncator import Truncator
from ms_eff.models.hf_names import NamedShards, to_hf
from ms_eff.models.parents import load_parent, load_tokenizer, open_parent
from ms_eff.models.streamed import Arrays
from ms_eff.parallel import mindformers_blocks
from ms_eff.train import checkpoint

__all__ = ["Family"]


class Family:
    """One config at work in its output folder.

    Args:
        config: validated settings.
        command: the line that started this, for the results.
        console: where to tell what happens.
        fresh: start over, forgetting what the folder holds.

    Raises:
        UserError: what the config names is missing or does not fit together, or the folder was made
            with other settings; all of it is told here, and nothing is written before.
    """

    def __init__(
        self,
        config: FamilyConfig,
        command: str = "",
        console: Console | None = None,
        fresh: bool = False,
    ) -> None:
        self.config, self.command, self.wishes = config, command, config.progressive
        self.worker = runtime.setup(config.device)
        runtime.set_seed(config.seed)
        self.console = console or Console(stderr=True, quiet=self.worker.rank > 0)
        self.folder = FamilyFolder(config, command, self.worker)
        self.parent = open_parent(config.parent.path)
        check_fit(config, self.parent, self.worker.size)
        self.shapes = block_shapes(self.parent.shape)
        named = config.parent.tokenizer
        self.tokenizer = load_tokenizer(named) if named else self.parent.tokenizer()
        self.judge = Judge(config.evaluation, self.tokenizer, self.parent.shape)
        self.blocks = self._blocks()
        self.truncator = Truncator(
            config, self.parent, self.tokenizer, self.folder, self.console.print
        )
        self.truncator.check()
        self.folder.claim(fresh)  # last: a call that is refused leaves the folder as it was

    def run(self) -> list[dict[str, Any]]:
        """Make every member that is not there yet; return a row a member.

        Raises:
            Interrupted: training was asked to stop; everything is saved.
        """
        return list(self.members())

    def members(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of `run` one by one, each as soon as its member is there."""
        if self.judge.shortfall:
            self.console.print(self.judge.shortfall)
        rows = [self._parent_row()] if self.config.evaluation.baseline else []
        self.folder.write(rows)
        yield from rows
        for index in range(len(self.wishes.ratios)):
            gc.collect()  # networks and their compiled graphs refer to each other
            rows.append(self._member(index))
            self.folder.write(rows)
            yield rows[-1]

    # members

    def _parent_row(self) -> dict[str, Any]:
        record = self.folder.path / "parent.json"
        if not record.exists() and self.worker.rank == 0:
            score = self.judge.score(load_parent(self.parent))
            row = {"ratio": 1.0, **self.sizes(dict.fromkeys(self.shapes)), **score}
            with replacing(record) as temporary:
                temporary.write_text(json.dumps(row, indent=1), encoding="utf-8")
        self.folder.wait_for(record)
        row = read_json(record, CheckpointError)
        self._tell("parent", row)
        return row

    def _member(self, index: int) -> dict[str, Any]:
        path = self.folder.of(index)
        if not path.is_dir():
            self._make(index)
        self.folder.wait_for(path / "state.json")
        row = checkpoint.verified(path)["row"]
        self._tell(f"ratio {row['ratio']:g}", row)
        return row

    def _make(self, index: int) -> None:
        """Truncate, train if that is wanted, judge and keep one member."""
        if self.worker.rank > 0 and not self.wishes.tokens:
            return  # the first works alone where there is no batch to share
        plan, arrays = self._truncated(index)
        network = build_member(self.parent.shape, plan, arrays)
        losses = self.train(index, network) if self.wishes.tokens else []
        if self.worker.rank > 0:
            return
        ranks = {layer.name: layer.rank[0] for layer in plan.layers}
        row: dict[str, Any] = {
            "ratio": self.wishes.ratios[index],
            **self.sizes({name: ranks.get(name) for name in self.shapes}),
            "trained_tokens": self.tokens_a_step() * (index + 1),
            **self.judge.score(network),
        }
        if (tokens := self.truncator.calibration_tokens()) is not None:
            row["calibration_tokens"] = tokens
        if losses:
            row["last_train_loss"] = float(np.mean(losses[-20:]))
        self._save(self.folder.of(index), plan, network, row)
        self.truncator.forget(index)
        shutil.rmtree(self.folder.of(index, "train"), ignore_errors=True)

    def _save(
        self, path: Path, plan: LowRankPlan, network: nn.Cell, row: Mapping[str, Any]
    ) -> None:
        shape = self.parent.shape
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = member_texts(shape, plan, self.tokenizer.to_str(), self.parent.special_ids)
        if self.config.parallel is not None:
            blocks = mindformers_blocks(self.config.parallel)
            texts["mindformers.yaml"] = yaml.safe_dump(blocks, sort_keys=False)
        weights = to_hf({p.name: p.asnumpy() for p in network.get_parameters()}, shape.model)
        state = {**description(shape, plan), "row": dict(row)}
        checkpoint.save(path, weights, state, texts=texts)

    def _truncated(self, index: int) -> tuple[LowRankPlan, Arrays]:
        """Return plan and arrays of a member before training; one worker works them out for all."""
        if not self.wishes.tokens:
            return self.truncator.member(index)
        path = self.folder.of(index, "steps")
        if not path.is_dir() and self.worker.rank == 0:
            plan, arrays = self.truncator.member(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            shape = self.parent.shape
            whole = {name: arrays.array(name) for name in arrays.names()}
            checkpoint.save(path, to_hf(whole, shape.model), description(shape, plan))
            self.truncator.forget(index)
        self.folder.wait_for(path / "state.json")
        state = checkpoint.verified(path)
        plan = LowRankPlan.from_json(state["plans"][0]["plan"])
        return plan, NamedShards(path / "model.safetensors", self.parent.shape.model)

    # training

    def train(self, index: int, network: nn.Cell) -> list[float]:
        """Train a network on the text of a step, and return the loss of every batch."""
        wanted = self.config.recovery
        if wanted is None or self.blocks is None:
            raise ConfigError("progressive.tokens = 0: nothing is to be trained on; give tokens")
        steps = steps_for(self.wishes.tokens, wanted)
        return Recovery(
            network,
            self.blocks,
            wanted,
            steps,
            self.folder.of(index, "train"),
            first=index * steps,
            worker=self.worker,
            console=self.console,
            cache=self.config.device.cache,
        ).run(f"ratio {self.wishes.ratios[index]:g}")

    def _blocks(self) -> Blocks | None:
        """Return the text of recovery training; None where there is none."""
        wanted = self.config.recovery
        if not self.wishes.tokens or wanted is None:
            return None
        ids = encode_files(self.tokenizer, wanted.files)
        check_vocabulary(ids, self.parent.shape.vocab_size, "recovery.files")
        return Blocks(ids, wanted.block, wanted.batch, self.config.seed, "recovery.files")

    def tokens_a_step(self) -> int:
        """Return the tokens trained on after each step: whole batches."""
        wanted = self.config.recovery
        if not self.wishes.tokens or wanted is None:
            return 0
        return steps_for(self.wishes.tokens, wanted) * wanted.batch * wanted.block

    # what is told and kept

    def sizes(self, ranks: Mapping[str, int | None]) -> dict[str, int]:
        """Return all parameters and those of the blocks' linears, at these ranks."""
        dense = sum(S * C for S, C in self.shapes.values())
        kept = kept_weights(self.shapes, ranks)
        return {"params": self.parent.shape.params - dense + kept, "block_params": kept}

    def _tell(self, title: str, row: Mapping[str, Any]) -> None:
        self.console.print(
            f"[bold]{title}[/]: {row['params']:,} parameters ({row['block_params']:,} in the "
            f"blocks' linears) · perplexity {row['perplexity']:.2f}"
        )
        for name, score in row.get("zero_shot", {}).items():
            self.console.print(
                f"  {name}: {score['accuracy']:.3f} of {score['questions']} questions "
                f"({score['normalised']:.3f} normalised by length)"
            )
        for sample in row.get("samples", []):
            self.console.print(f"  {' '.join(sample.split())}", highlight=False, markup=False)
