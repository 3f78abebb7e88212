"""What a member is judged by: perplexity on a text, questions answered, and what it writes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mindspore import nn

from ms_eff.data.language import encode_files
from ms_eff.data.multiple_choice import read_questions
from ms_eff.methods.progressive.settings import EvaluationSettings
from ms_eff.models.decoding import Decoder, sample_text
from ms_eff.train.perplexity import perplexity
from ms_eff.train.zero_shot import zero_shot

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Judge"]


class Judge:
    """Scores networks on one text, which is tokenised once.

    Args:
        settings: which text, and which prompts.
        tokenizer: of the parent.
    """

    def __init__(self, settings: EvaluationSettings, tokenizer: Tokenizer) -> None:
        self.settings, self.tokenizer = settings, tokenizer
        self.ids = encode_files(tokenizer, settings.files)
        limit = settings.questions_limit
        self.questions = {n: read_questions(p, limit) for n, p in settings.questions.items()}

    def score(self, network: nn.Cell) -> dict[str, Any]:
        """Return perplexity, loss, tokens scored, accuracies, and a sample for each prompt."""
        wanted = self.settings
        found = perplexity(network, self.ids, window=wanted.window, tokens=wanted.tokens)
        row: dict[str, Any] = {
            "perplexity": found.value,
            "loss": found.loss,
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

    def _samples(self, network: nn.Cell) -> list[str]:
        encode = self.tokenizer.encode
        longest = max(len(encode(p, add_special_tokens=False).ids) for p in self.settings.prompts)
        decoder = Decoder(network, longest + self.settings.new_tokens)
        return [
            sample_text(decoder, self.tokenizer, prompt, self.settings.new_tokens)
            for prompt in self.settings.prompts
        ]
