"""What a member is judged by: perplexity on a text, questions answered, and what it writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mindspore import nn

from ms_eff.data.language import check_vocabulary, encode_files, windows
from ms_eff.data.multiple_choice import read_questions
from ms_eff.errors import ConfigError, DataError
from ms_eff.methods.progressive.settings import EvaluationSettings
from ms_eff.models.decoding import Decoder, sample_text
from ms_eff.models.parents import Shape
from ms_eff.train.perplexity import perplexity
from ms_eff.train.zero_shot import check_questions, zero_shot

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Judge"]


class Judge:
    """Scores networks on one text, which is tokenised once.

    Args:
        settings: which text, and which prompts.
        tokenizer: of the parent.
        shape: of the networks.

    Attributes:
        tokens: of the text that are read: whole windows.

    Raises:
        ConfigError: a prompt and what is to follow it are too long for the networks, or the
            tokenizer is another model's.
        DataError: a text or a question cannot be scored.
    """

    def __init__(self, settings: EvaluationSettings, tokenizer: Tokenizer, shape: Shape) -> None:
        self.settings, self.tokenizer = settings, tokenizer
        self.ids = encode_files(tokenizer, settings.files)
        check_vocabulary(self.ids, shape.vocab_size, "evaluation.files")
        self.tokens = windows(self.ids, settings.window, settings.tokens, "evaluation.files").size
        limit = settings.questions_limit
        self.questions = {n: read_questions(p, limit) for n, p in settings.questions.items()}
        for name, questions in self.questions.items():
            try:
                check_questions(tokenizer, questions, settings.window)
            except DataError as error:
                raise DataError(f"evaluation.questions.{name}: {error}") from error
            texts = ("".join(pair) for question in questions for pair in question.choices)
            self._check_ids(texts, shape, f"evaluation.questions.{name}")
        self._check_ids(settings.prompts, shape, "evaluation.prompts")
        for prompt in settings.prompts:
            self._check_prompt(prompt, shape.context)

    @property
    def shortfall(self) -> str:
        """What to say where fewer tokens are read than were asked for; else nothing."""
        asked = self.settings.tokens
        if asked is None or self.tokens >= asked:
            return ""
        return (
            f"evaluation.tokens = {asked:,}: {self.tokens:,} are read; the text has "
            f"{len(self.ids):,}, and windows are of {self.settings.window:,}"
        )

    def score(self, network: nn.Cell) -> dict[str, Any]:
        """Return perplexity, loss, tokens scored, accuracies, and a sample for each prompt."""
        wanted = self.settings
        found = perplexity(network, self.ids, window=wanted.window, tokens=wanted.tokens)
        row: dict[str, Any] = {
            "perplexity": found.value,
            "loss": found.loss,
            "evaluation_tokens": self.tokens,
            "scored_tokens": found.tokens,
        }
        if self.questions:
            row["zero_shot"] = {
                name: asdict(zero_shot(network, self.tokenizer, found, window=wanted.window))
                for name, found in self.questions.items()
            }
        if wanted.prompts:
            row["samples"] = self._samples(network)
        return row

    def _check_ids(self, texts: Iterable[str], shape: Shape, name: str) -> None:
        for text in texts:
            check_vocabulary(self._encoded(text), shape.vocab_size, name)

    def _check_prompt(self, prompt: str, context: int) -> None:
        length, new = self._length(prompt), self.settings.new_tokens
        if not length:
            raise ConfigError(f"evaluation.prompts: {prompt!r} has no token; drop it")
        if length + new > context:
            raise ConfigError(
                f"evaluation.prompts: {prompt!r} is {length} tokens long, new_tokens = {new}, and "
                f"the model has {context} positions; shorten the prompt, or lower "
                "evaluation.new_tokens"
            )

    def _length(self, prompt: str) -> int:
        return len(self._encoded(prompt))

    def _encoded(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _samples(self, network: nn.Cell) -> list[str]:
        longest = max(map(self._length, self.settings.prompts))
        decoder = Decoder(network, longest + self.settings.new_tokens)
        return [
            sample_text(decoder, self.tokenizer, prompt, self.settings.new_tokens)
            for prompt in self.settings.prompts
        ]
