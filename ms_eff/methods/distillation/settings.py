"""What a user may ask of distillation; imports no MindSpore."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ms_eff.section import Section

__all__ = ["DENSE", "DistillationSettings", "GeneratorSettings"]

# the word that stands for the run's own network before any method
DENSE = "dense"

Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]

_WITH_TEACHER = ("vanilla", "self", "annealing", "rail", "mate")
# keys that only some kinds read
_OWN: dict[str, tuple[str, ...]] = {
    "teacher": _WITH_TEACHER,
    "weights": ("vanilla", "self", "rail", "mate"),
    "temperature": ("vanilla", "self", "rail"),
    "max_temperature": ("annealing",),
    "first_share": ("annealing",),
    "form": ("rail",),
    "width": ("rail",),
    "mask": ("mate",),
    "generator": ("mate",),
    "alpha": ("label_smoothing", "tf_reg"),
    "certainty": ("tf_reg",),
}
_THIRDS = (1 / 3, 1 / 3, 1 / 3)
_WEIGHTS = {"vanilla": (0.5, 0.5, 0.0), "self": (0.5, 0.5, 0.0), "rail": _THIRDS, "mate": _THIRDS}


class GeneratorSettings(Section):
    """The masked language model of MATE-KD that fills in tokens (arXiv:2105.05812).

    Attributes:
        lr: constant, of AdamW without decay.
        clip_norm: bound of the global L2 norm of its gradients.
        steps: of the generator in a round, which maximise the disagreement.
        student_steps: of the student after each round.
        temperature: of the Gumbel-softmax.
        depth: transformer blocks; it has the teacher's width and begins with the teacher's token
            embedding.
        warmup_steps: of training as a masked language model before the first round.
        warmup_lr: learning rate of these, falling to 0.
    """

    lr: float = Field(5e-7, gt=0)
    clip_norm: float = Field(5.0, gt=0)
    steps: int = Field(10, ge=1)
    student_steps: int = Field(100, ge=1)
    temperature: float = Field(1.0, gt=0)
    depth: int = Field(2, ge=1)
    warmup_steps: int = Field(200, ge=0)
    warmup_lr: float = Field(1e-3, gt=0)


class DistillationSettings(Section):
    """Train a student by a teacher's outputs, or by softened labels (compared in arXiv:2110.08460).

    Attributes:
        kind: `vanilla` (arXiv:1503.02531); `self`: the teacher is a trained copy of the student;
            `annealing` (2104.07163): logits first, labels after; `rail` (2109.10164): layers drawn
            at random as well; `mate` (2105.05812): text made to disagree on as well. Without a
            teacher: `label_smoothing` (1512.00567) and `tf_reg` (1909.11723).
        teacher: folder of a checkpoint, or of a run, whose last trained network it is; `dense` or
            left out: this run's own network before any method.
        weights: of the loss on the labels, of that on the teacher's outputs, and of a third:
            `vanilla`, `self`: cosine distance of the last hidden states; `rail`: the layers;
            `mate`: the generated text. Left out: a half each and no third, or thirds.
        temperature: that logits are divided by before both softmaxes.
        max_temperature: T_max of annealing: the teacher's logits are scaled by t / T_max.
        first_share: share of the epochs that train on logits.
        form: whether each pair of layers has a distance, or all pairs one.
        width: common width that hidden states are projected to.
        mask: share of the tokens that the generator fills in.
        generator: see there.
        alpha: share of the label that is given to the other distribution: the uniform one, or for
            `tf_reg` one that is right with probability `certainty`.
        certainty: the virtual teacher's probability of the right class.
    """

    kind: Literal[
        "vanilla", "self", "annealing", "rail", "mate", "label_smoothing", "tf_reg"
    ] = "vanilla"  # fmt: skip
    teacher: str | None = None
    weights: tuple[Weight, Weight, Weight] | None = None
    temperature: Positive = 2.0
    max_temperature: int = Field(10, ge=1)
    first_share: float = Field(0.75, gt=0, lt=1)
    form: Literal["layerwise", "concatenated"] = "layerwise"
    width: int = Field(128, ge=1)
    mask: float = Field(0.3, gt=0, le=1)
    generator: GeneratorSettings = GeneratorSettings()
    alpha: float = Field(0.1, ge=0, lt=1)
    certainty: float = Field(0.9, gt=0, le=1)

    @model_validator(mode="after")
    def _fits_the_kind(self) -> Self:
        for key in sorted(self.model_fields_set & _OWN.keys()):
            if self.kind not in _OWN[key] and getattr(self, key) is not None:
                kinds = ", ".join(_OWN[key])
                raise ValueError(f"{key}: for kind {kinds}, not {self.kind}; leave it out")
        if self.weights is not None and not any(self.weights[1:]):
            raise ValueError(
                f"weights = {list(self.weights)}: nothing is left of the teacher; give the second "
                "or the third more than 0"
            )
        return self

    @property
    def needs_teacher(self) -> bool:
        """Whether another network takes part."""
        return self.kind in _WITH_TEACHER

    @property
    def shares(self) -> tuple[float, float, float]:
        """The weights that hold: those given, or the kind's own.

        >>> DistillationSettings(kind="self").shares
        (0.5, 0.5, 0.0)
        """
        return self.weights or _WEIGHTS[self.kind]
