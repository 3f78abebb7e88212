"""What a user may ask of SwiftLearn and its rivals; imports no MindSpore."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ms_eff.section import Section

__all__ = ["SwiftLearnSettings"]

# keys that only one policy reads
_OWN = {
    "swiftlearn": ("reevaluate_every", "selection", "temperature"),
    "infobatch": ("anneal_epochs",),
}


class SwiftLearnSettings(Section):
    """Train on a share of the samples after a warm-up on all (arXiv:2311.15134).

    Attributes:
        keep: share of the samples that each later epoch trains on.
        warmup_epochs: epochs that train on everything; swiftlearn needs two to see logits move.
        reevaluate_every: measure all samples again, by a forward over the whole set, after every
            so many reduced epochs; null: once, from the warm-up, as in the paper's experiments.
        selection: `topk` keeps the samples whose logits moved most; `sample` draws by the paper's
            probability without replacement, anew each epoch.
        temperature: the paper's sigma, which multiplies the movement in the probability: 0 draws
            uniformly. For `sample` only.
        policy: `swiftlearn`; or for the same work `random_fixed` (one random subset),
            `random_fresh` (another each epoch), `infobatch` (arXiv:2303.04947: low losses are
            dropped at random, those that stay count for the dropped ones).
        anneal_epochs: of `infobatch`: how many of the warm-up's epochs on everything come last.
    """

    keep: float = Field(0.1, gt=0, le=1)
    warmup_epochs: int = Field(2, ge=0)
    reevaluate_every: int | None = Field(None, ge=1)
    selection: Literal["topk", "sample"] = "topk"
    temperature: float = Field(1.0, ge=0)
    policy: Literal["swiftlearn", "random_fixed", "random_fresh", "infobatch"] = "swiftlearn"
    anneal_epochs: int = Field(1, ge=0)

    @model_validator(mode="after")
    def _fits_the_policy(self) -> Self:
        for policy, keys in _OWN.items():
            said = self.model_fields_set & set(keys)
            idle = sorted(key for key in said if getattr(self, key) is not None)
            if idle and policy != self.policy:
                raise ValueError(f"{idle[0]}: for policy {policy}, not {self.policy}; leave it out")
        if self.selection == "topk" and self.temperature != 1.0:
            raise ValueError(
                f"temperature = {self.temperature:g}: selection = topk takes the largest movements "
                "whatever it is; leave it out, or use selection: sample"
            )
        if self.policy == "swiftlearn" and self.warmup_epochs < 2:
            raise ValueError(
                f"warmup_epochs = {self.warmup_epochs}: swiftlearn compares the logits of two "
                "epochs on everything; give 2 or more"
            )
        if self.policy == "infobatch" and self.warmup_epochs <= self.anneal_epochs:
            raise ValueError(
                f"warmup_epochs = {self.warmup_epochs}: infobatch begins with an epoch on "
                f"everything and ends with anneal_epochs = {self.anneal_epochs} of them; give more"
            )
        return self
