"""A classifier of text over GPT-2's blocks."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_eff.errors import ConfigError
from ms_eff.models.gpt2 import GPT2Body, Hidden
from ms_eff.models.gpt2_shape import GPT2Shape
from ms_eff.models.initial import truncated_normal
from ms_eff.models.masks import causal_mask, key_mask

__all__ = ["GPT2Classifier", "gpt2_classifier"]

_STD = 0.02


class GPT2Classifier(GPT2Body):
    """GPT-2's blocks with one linear head on the last token, as transformers has it.

    It takes text as `ms_eff.models.bert.BertClassifier` does; types have no meaning here.

    Args:
        num_classes: outputs of the head.
        dropout: as in `GPT2`.
        seed: of the initial weights and of dropout.
        **shape: see `GPT2Shape`.

    Attributes:
        new_weights: what a weight file may lack or have for other classes: the head.

    Raises:
        ConfigError: numbers that do not fit together.
    """

    new_weights = ("head.",)

    def __init__(
        self, *, num_classes: int = 2, dropout: float = 0.0, seed: int = 0, **shape: Any
    ) -> None:
        super().__init__(GPT2Shape(**shape), dropout, seed)
        if num_classes < 1:
            raise ConfigError(f"num_classes: expected at least 1, got {num_classes}")
        rng = np.random.default_rng((seed, num_classes))
        weight = truncated_normal(rng, (num_classes, self.shape.dim), _STD)
        self.head = nn.Dense(
            self.shape.dim, num_classes, weight_init=Tensor(weight), has_bias=False
        )
        self.latest = ops.ReduceMax(keep_dims=True)
        self.pick = ops.BatchMatMul()

    def construct(self, tokens: Tensor) -> Tensor:
        """Return logits ``(B, num_classes)``.

        Args:
            tokens: ``(B, 3, T)`` int32: ids, mask (1, or 0 for padding) and types (not used).
        """
        return self.from_embedded(self.word(tokens[:, 0]), tokens)

    def with_hidden(self, tokens: Tensor) -> tuple[Tensor, Hidden]:
        """Return the logits, and each block's output ``(B, T, dim)``, the last one normalised."""
        hidden = self._states(self.word(tokens[:, 0]), tokens)
        logits = self.head(self.pooled(hidden[-1], tokens[:, 1]))
        return logits, (*hidden[:-1], self.norm(hidden[-1]))

    def from_embedded(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        """Return the logits of token embeddings ``(B, T, dim)`` that took the place of ids.

        Args:
            embedded: before positions are added.
            tokens: what `construct` takes; its mask counts.
        """
        return self.head(self.pooled(self._states(embedded, tokens)[-1], tokens[:, 1]))

    def pooled(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the normalised features ``(B, dim)`` of each text's last token.

        Args:
            x: ``(B, T, dim)``, the last block's output.
            mask: ``(B, T)``.
        """
        tokens = mask.shape[1]
        place = ops.arange(tokens).astype(ms.float32)
        last = self.latest(mask.astype(ms.float32) * place, 1)
        chosen = (place == last).astype(x.dtype)
        x = self.pick(ops.reshape(chosen, (-1, 1, tokens)), x)
        return self.norm(ops.reshape(x, (-1, x.shape[2])))

    def _states(self, embedded: Tensor, tokens: Tensor) -> Hidden:
        mask = causal_mask(embedded.shape[1]) + key_mask(tokens[:, 1])
        return self.states(embedded, mask)


def gpt2_classifier(**args: Any) -> GPT2Classifier:
    """Return a GPT-2 that classifies text, small unless told otherwise; see `GPT2Classifier`."""
    return GPT2Classifier(**args)
