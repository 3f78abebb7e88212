"""The `model` block of a config; checked without importing mindspore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ms_eff.models.registry import MODELS, check_args, check_name
from ms_eff.section import Section

__all__ = ["ModelSettings"]

Size = Annotated[int, Field(ge=1)]


class ModelSettings(Section):
    """Which network to build. A key left out keeps the model's own default.

    Attributes:
        name: one of `ms_eff.models.names()`.
        weights: file of initial weights (safetensors, .pth, .ckpt), or null for random ones.
        num_classes: outputs; left out, the caller takes the data set's.
        in_channels: channels of the input; left out, the caller takes the data set's.
        width: ResNet, R3D-18: channels of the first stage (the published networks have 64);
            eco_lite_small: of the first 3D stage.
        form: ResNet-9: `baseline` or `competition`, which settles the next three.
        activation: ResNet-9: `relu` or `celu` (alpha 0.3).
        logit_scale: ResNet-9: constant that the logits are multiplied by.
        train_norm_scale: ResNet-9: whether normalisations train their scale.
        dirac: ResNet-9: start convolutions as partial identities.
        stem: ResNet, R3D-18: `imagenet` (7x7 stride 2, for images with a pool) or `cifar` (3x3).
        zero_init_residual: ResNet: start each block as an identity.
        image_size: ViT, networks for clips: side of the images, or [height, width]; left out, the
            data set's.
        frames: networks for clips: T of a clip; left out, the data set's.
        front_weights: eco_lite: file of weights for its 2D network (torchvision's inception_v3);
            the rest is random. Not beside `weights`, which holds all of it.
        patch_size: ViT: side of a patch.
        dim: ViT, BERT, GPT-2: channels of a token.
        depth: ViT, BERT, GPT-2: number of blocks.
        heads: ViT, BERT, GPT-2: attention heads; divide `dim`.
        pool: ViT, BERT: the head sees the class `token` (BERT: through its pooler), or the `mean`
            over the patches or tokens.
        vocab: BERT, GPT-2: number of tokens; left out, the tokenizer's for `bert`, `gpt2` and
            `gpt2_classifier`.
        positions: BERT, GPT-2: longest sequence.
        hidden: BERT, GPT-2: channels inside the MLPs.
        dropout: BERT, GPT-2: share of the activations that is set to 0 in training.
    """

    name: str
    weights: Path | None = None
    num_classes: Size | None = None
    in_channels: Size | None = None
    width: Size | None = None
    form: Literal["baseline", "competition"] | None = None
    activation: Literal["relu", "celu"] | None = None
    logit_scale: float | None = Field(None, gt=0)
    train_norm_scale: bool | None = None
    dirac: bool | None = None
    stem: Literal["imagenet", "cifar"] | None = None
    zero_init_residual: bool | None = None
    image_size: Size | tuple[Size, Size] | None = None
    frames: Size | None = None
    front_weights: Path | None = None
    patch_size: Size | None = None
    dim: Size | None = None
    depth: Size | None = None
    heads: Size | None = None
    pool: Literal["token", "mean"] | None = None
    vocab: Size | None = None
    positions: Size | None = None
    hidden: Size | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        check_name(name)
        return name

    @model_validator(mode="after")
    def _taken_by_the_model(self) -> ModelSettings:
        check_args(self.name, self.model_dump(exclude={"name", "weights"}, exclude_none=True))
        return self

    @model_validator(mode="after")
    def _read_once(self) -> ModelSettings:
        if self.weights is not None and self.front_weights is not None:
            raise ValueError(
                f"model.front_weights = {self.front_weights} would be overwritten by model.weights "
                f"= {self.weights}, which holds the 2D network too; drop one of the two"
            )
        return self

    def args(self, **defaults: Any) -> dict[str, Any]:
        """Return the arguments for `ms_eff.models.build`: those given, over `defaults`.

        Defaults that the model does not take (a ResNet's image size) are left out, and so are
        files of weights: a checkpoint is rebuilt without them.

        >>> ModelSettings(name="resnet18", width=16).args(num_classes=10)
        {'num_classes': 10, 'width': 16}
        """
        files = {"weights", "front_weights"}
        given = self.model_dump(exclude={"name", *files}, exclude_none=True)
        takes = MODELS[self.name][1]
        return {key: value for key, value in defaults.items() if key in takes} | given
