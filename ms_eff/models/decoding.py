"""Text from a Llama or a GPT-2, token by token, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from ms_eff.bench.modes import inference
from ms_eff.errors import ConfigError
from ms_eff.models.gpt2 import GPT2
from ms_eff.models.llama import KeysValues, Llama

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Decoder", "Prefill", "sample_text"]


Cache = tuple[KeysValues, ...]
LanguageModel = Llama | GPT2


class Prefill(nn.Cell):
    """The graph of a whole prompt."""

    def __init__(self, network: LanguageModel) -> None:
        super().__init__(auto_prefix=False)  # the network's names stay
        self.network = network

    def construct(self, ids: Tensor, last: Tensor) -> tuple[Tensor, Cache]:
        """Return the logits of the last place, and the cache."""
        return self.network.prefill(ids, last)


class _Next(nn.Cell):
    """The graph of one more token."""

    def __init__(self, network: LanguageModel) -> None:
        super().__init__(auto_prefix=False)  # the network's names stay
        self.network = network

    def construct(self, ids: Tensor, position: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Return logits and the longer cache."""
        return self.network.decode(ids, position, cache)


class Decoder:
    """A network and its two compiled graphs: one for prompts, one for each further token.

    Args:
        network: a Llama or a GPT-2, whole or in factors.
        length: of prompt and answer together; both graphs have that static size.

    Raises:
        ConfigError: the network's context is shorter.
    """

    def __init__(self, network: LanguageModel, length: int = 128) -> None:
        if length > network.context:
            raise ConfigError(f"length = {length}: the model's context is {network.context}")
        self.network, self.length = network, length
        self._prefill, self._next = Prefill(network), _Next(network)
        self._prefill.set_train(False)
        self._next.set_train(False)

    def generate(
        self,
        prompt: Sequence[int],
        tokens: int,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        stop: int | None = None,
    ) -> list[int]:
        """Return up to `tokens` ids that follow a prompt.

        Args:
            prompt: token ids, at least one.
            tokens: how many to add.
            temperature: 0 takes the likeliest token, more draws from softmax(logits / it).
            seed: of the draws.
            stop: end before this token.

        Raises:
            ConfigError: prompt and answer do not fit into the length.
        """
        if not 0 < len(prompt) <= self.length - tokens:
            raise ConfigError(
                f"prompt: {len(prompt)} tokens and {tokens} more do not fit into {self.length}; "
                "shorten it, or raise length"
            )
        rng, found = np.random.default_rng(seed), list(prompt)
        with inference(self.network):
            row, cache = self.prefill(prompt)
            while True:
                token = _chosen(row, temperature, rng)
                if token == stop:
                    break
                found.append(token)
                if len(found) == len(prompt) + tokens:
                    break
                row, cache = self.next(token, len(found) - 1, cache)
        return found[len(prompt) :]

    def prefill(self, prompt: Sequence[int]) -> tuple[np.ndarray, Cache]:
        """Return the logits behind a prompt, and its cache."""
        # behind the prompt stands padding, which causal attention never sees
        padded = np.zeros((1, self.length), np.int32)
        padded[0, : len(prompt)] = prompt
        logits, cache = self._prefill(Tensor(padded), Tensor(len(prompt) - 1, ms.int32))
        return logits[0, 0].asnumpy(), cache

    def next(self, token: int, place: int, cache: Cache) -> tuple[np.ndarray, Cache]:
        """Return the logits behind one more token at its place, and the longer cache."""
        ids = Tensor([[token]], ms.int32)
        logits, cache = self._next(ids, Tensor(place, ms.int32), ms.mutable(cache))
        return logits[0, 0].asnumpy(), cache


def sample_text(
    decoder: Decoder, tokenizer: Tokenizer, prompt: str, tokens: int, temperature: float = 0.0
) -> str:
    """Return a prompt with its continuation, without special tokens."""
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    new = decoder.generate(ids, tokens, temperature=temperature)
    # both together: by itself a continuation loses the space before its first word
    return prompt + tokenizer.decode(ids + new).removeprefix(tokenizer.decode(ids))


def _chosen(logits: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    if temperature > 0:  # the largest of logits plus Gumbel noise is a draw from their softmax
        logits = logits / temperature + rng.gumbel(size=logits.shape)
    return int(np.argmax(logits))
