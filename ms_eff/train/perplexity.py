"""How well a causal language model knows a text."""

from __future__ import annotations

from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_eff.bench.modes import inference
from ms_eff.data.language import Ids, windows

__all__ = ["NextTokenLoss", "Perplexity", "perplexity"]


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean loss, and over how many predictions.

    Attributes:
        value: the perplexity.
        loss: mean cross entropy, in nats.
        tokens: predictions that were scored.
        samples: windows they lie in.
    """

    value: float
    loss: float
    tokens: int
    samples: int

    @classmethod
    def of(cls, loss: float, tokens: int, samples: int) -> Perplexity:
        """Return the perplexity of a mean loss."""
        return cls(float(np.exp(loss)), float(loss), tokens, samples)

    @property
    def merit(self) -> float:
        """Minus the loss: the higher, the better."""
        return -self.loss

    def measures(self) -> dict[str, float]:
        """Return loss and perplexity by name."""
        return {"loss": self.loss, "perplexity": self.value}


class NextTokenLoss(nn.Cell):
    """Cross entropy of each next token: (B, N) ids to (B, N - 1) losses in float32, in nats.

    Args:
        network: token ids to logits (or to a tuple that starts with them).
    """

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)  # the network's names stay
        self.network = network

    def construct(self, ids: Tensor) -> Tensor:
        """Return the losses; the last token is predicted, not read."""
        logits = self.network(ids[:, :-1])
        rows = ops.reshape(logits, (-1, logits.shape[-1])).astype(ms.float32)
        labels = ops.reshape(ids[:, 1:], (-1,))
        losses = ops.cross_entropy(rows, labels, reduction="none")
        return ops.reshape(losses, (ids.shape[0], -1))


def perplexity(
    network: nn.Cell, ids: Ids, *, window: int = 1024, tokens: int | None = None, batch: int = 1
) -> Perplexity:
    """Return the perplexity over windows that lie end to end, the first token of each not scored.

    Args:
        network: token ids (B, N) to logits.
        ids: (n,) of the text.
        window: tokens that see each other.
        tokens: of the text that count, from its start; all if None.
        batch: windows at a time.

    Raises:
        DataError: the text is shorter than one window.
    """
    rows = windows(ids, window, tokens)
    scorer, total, count = NextTokenLoss(network), 0.0, 0
    with inference(scorer):
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            # one graph for all: the last batch is filled up with its own first row
            filled = np.concatenate([part, np.repeat(part[:1], batch - len(part), 0)])
            losses = scorer(Tensor(filled)).asnumpy()[: len(part)].astype(np.float64)
            total, count = total + float(losses.sum()), count + losses.size
    return Perplexity.of(total / count, count, len(rows))
