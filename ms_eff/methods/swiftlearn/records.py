"""What is remembered of each sample: logits and how far they moved, or losses; no MindSpore."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ms_eff.methods.swiftlearn import core

__all__ = ["Losses", "Movements"]


class Movements:
    """The last logits of each sample, and how far they moved to get there.

    Logits are compared with those recorded before, sample by sample, so that one buffer of N x C
    floats is enough.

    Args:
        samples: N.
        tell: says a line to the user: how much memory the buffer takes.

    Attributes:
        metric: (N,) float64, the last movement of each sample.
    """

    def __init__(self, samples: int, tell: Callable[[str], None]) -> None:
        self.metric = np.zeros(samples)
        self._tell = tell
        self._epoch = np.full(samples, -1, np.int32)  # in which each sample was recorded last
        self._logits: np.ndarray | None = None

    def record(self, indices: np.ndarray, logits: np.ndarray, epoch: int) -> None:
        """Take in the (n, ...) logits of samples (n,) seen in that epoch."""
        if self._logits is None:
            shape = (len(self.metric), *logits.shape[1:])
            self._logits = np.zeros(shape, np.float32)
            sizes = " x ".join(map(str, shape))
            self._tell(f"swiftlearn: {sizes} logits kept, {self._logits.nbytes / 2**20:.2f} MiB")
        known = self._epoch[indices] >= 0
        before = self._logits[indices[known]]
        self.metric[indices[known]] = core.movement(before, logits[known])
        self._logits[indices] = logits
        self._epoch[indices] = epoch

    def unseen(self, indices: np.ndarray, epoch: int) -> np.ndarray:
        """Return those of the samples that were not recorded in that epoch."""
        return indices[self._epoch[indices] != epoch]

    def forget(self) -> None:
        """Free the logits: nothing will be compared with them."""
        self._logits = None

    def state(self) -> dict[str, np.ndarray]:
        """Return all arrays by name."""
        logits = {} if self._logits is None else {"logits": self._logits}
        return {"metric": self.metric, "recorded": self._epoch, **logits}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned; arrays of a checkpoint may be read-only."""
        self.metric, self._epoch = state["metric"].copy(), state["recorded"].copy()
        self._logits = state["logits"].copy() if "logits" in state else None


class Losses:
    """The loss of each sample when it was last trained on; a new epoch sees those of the last.

    Attributes:
        scores: (N,) float64, as they were when the epoch began.
        drawn: (N,) float64, likewise, of the last epoch that a subset was drawn for.
    """

    def __init__(self, samples: int) -> None:
        self.scores = self.drawn = np.zeros(samples)
        self._fresh = self.scores.copy()

    def to_draw_by(self) -> np.ndarray:
        """Return the scores, and remember that a subset is drawn by them."""
        self.drawn = self.scores
        return self.drawn

    def record(self, indices: np.ndarray, losses: np.ndarray) -> None:
        """Take in the losses (n,) of samples (n,)."""
        self._fresh[indices] = losses

    def turn(self) -> None:
        """Begin another epoch."""
        self.scores = self._fresh.copy()

    def state(self) -> dict[str, np.ndarray]:
        """Return all arrays by name."""
        return {"scores": self.scores, "fresh": self._fresh, "drawn": self.drawn}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned."""
        self.scores, self._fresh = state["scores"].copy(), state["fresh"].copy()
        self.drawn = state["drawn"].copy()
