"""What MATE's generator does in a recipe: its own steps, between the student's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mindspore import Tensor, nn

from cross_check.hosts import renamed
from ms_eff.methods.base import Method
from ms_eff.methods.distillation import Distillation
from ms_eff.methods.distillation.mate import Filler
from ms_eff.methods.distillation.rounds import Rounds

__all__ = ["Generator", "generator_of"]

Arrays = dict[str, np.ndarray]
# see `twins.recipes.mate`
_IDLE = ".self.key.bias"
# our names -> transformers', where no table of namings has them
_HEAD = {
    "transform.weight": "cls.predictions.transform.dense.weight",
    "transform.bias": "cls.predictions.transform.dense.bias",
    "last_norm.gamma": "cls.predictions.transform.LayerNorm.weight",
    "last_norm.beta": "cls.predictions.transform.LayerNorm.bias",
    "bias": "cls.predictions.bias",
}
_EMBEDDINGS = {
    "word": "embeddings.word.weight",
    "position": "embeddings.position.weight",
    "norm.gamma": "embeddings.norm.gamma",
    "norm.beta": "embeddings.norm.beta",
}


class Generator:
    """Watches the generator's steps of one run.

    Args:
        rounds: set up, nothing done yet; its steps are wrapped.
    """

    def __init__(self, rounds: Rounds) -> None:
        self.rounds, make = rounds, rounds._step
        self.before = self._weights()
        self.seen: list[Arrays] = []
        self.losses: list[float] = []
        rounds.step = self._watched(rounds.step, warm=False)
        # what is made from now on is the warm-up's
        rounds._step = lambda *given: self._watched(make(*given), warm=True)

    def _watched(self, step: nn.Cell, warm: bool) -> Callable[[Tensor, Tensor], Any]:
        def taken(inputs: Tensor, labels: Tensor) -> Any:
            batch = {"inputs": inputs.asnumpy().copy(), "warm": np.array(warm, np.int32)}
            batch["before"] = np.array(self.rounds.steps)
            self.seen.append(batch | self.draws())
            done = step(inputs, labels)
            self.losses.append(float(done[0].asnumpy()))
            return done

        return taken

    def draws(self) -> Arrays:
        """Return the random numbers of the step that comes, or has just been: scores and noise."""
        filler: Filler = self.rounds.filler
        noise = filler.draw.noise.asnumpy()
        starts = filler.starts.asnumpy().reshape(-1, 1)
        windows = noise[starts + np.arange(len(filler.draw.across))]
        return {"scores": filler.scores.asnumpy().copy(), "noise": windows}

    def arrays(self) -> Arrays:
        """Return where it began, its steps, and what came of them."""
        found = {f"generator/{name}": array for name, array in self.before.items()}
        for i, batch in enumerate(self.seen):
            found |= {f"round {i}/{name}": array for name, array in batch.items()}
        found["also/loss curve of generator/"] = np.array(self.losses)
        for name, array in self._weights().items():
            if _IDLE not in name:
                found[f"also/movement of generator/{name}"] = array - self.before[name]
        return found

    def _weights(self) -> Arrays:
        arrays = {
            parameter.name.removeprefix("generator."): parameter.asnumpy().copy()
            for parameter in self.rounds.generator.get_parameters()
        }
        masked = arrays.pop("masked")
        head = {_HEAD[name]: arrays.pop(name) for name in list(arrays) if name in _HEAD}
        body = renamed({_EMBEDDINGS.get(k, k): v for k, v in arrays.items()}, "hf")
        return {"masked": masked} | {f"model.{k}": v for k, v in {**body, **head}.items()}


def generator_of(methods: Sequence[Method]) -> Generator | None:
    """Watch the generator of a run, if it has one."""
    for method in methods:
        if isinstance(method, Distillation) and method.settings.kind == "mate":
            return Generator(method._started.rounds)
    return None
