"""A ViT here against the same one in torch, in one process: `python -m ms_eff.bench.vit`.

Training step (forward, cross-entropy, backward, SGD with momentum) and inference, in turns, from
the same weights; what counts is the ratio of the two times, paired round by round.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ms_eff.bench import environment
from ms_eff.bench.against_torch import ratio_row, told, torch_step
from ms_eff.bench.timers import Comparison, compare
from ms_eff.errors import SetupError
from ms_eff.files import replacing
from ms_eff.runtime import DeviceSettings, setup

__all__ = ["LIMITS", "main", "measure"]

# ms_eff's time over torch's that is asked for
LIMITS = {"train_step": 1.3, "forward": 1.3}


def measure(
    model: str = "vit_small_patch16",
    *,
    batch: int = 8,
    warmup: int = 2,
    runs: int = 20,
    seed: int = 0,
    **args: Any,
) -> dict[str, Any]:
    """Time both sides on as many threads as this process may use cores.

    Args:
        model: name in `ms_eff.models`.
        batch: images at a time.
        warmup: rounds thrown away; the first compiles.
        runs: rounds that count.
        seed: of weights and images.
        **args: the model's, besides its name.

    Returns:
        `difference`: largest of the logits, relative to the largest logit; `threads`; and by kind
        (`train_step`, `forward`) times of both sides and `ratio`, ms_eff over torch, with spread.

    Raises:
        SetupError: torch or transformers is missing.
    """
    from ms_eff import models

    network = models.build(model, seed=seed, **args)
    twin = _twin(network, seed)
    rng = np.random.default_rng(seed)
    shape = (batch, network.patch_embed.proj.channels, *network.image_size)
    images = rng.standard_normal(shape, dtype=np.float32)
    labels = rng.integers(0, network.head.out_channels, batch)
    (ours_step, ours_forward), (torch_step, torch_forward) = (
        _ours(network, images, labels), _torch(twin, images, labels)
    )  # fmt: skip
    expected, found = torch_forward(), ours_forward().asnumpy()
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    rows = {
        "train_step": compare({"ms_eff": ours_step, "torch": torch_step}, warmup, runs),
        "forward": compare({"ms_eff": ours_forward, "torch": torch_forward}, warmup, runs),
    }
    return {
        "model": model,
        "batch": batch,
        "image_size": list(network.image_size),
        "threads": environment.cores(),
        "difference": difference,
        **{kind: _row(kind, comparison) for kind, comparison in rows.items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the results; return 1 if a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/vit_speed.json"))
    parser.add_argument("--model", default="vit_small_patch16")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args(arguments)
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before anything is measured
    # graph mode; the ViT has no convolution: it is better off with every instruction
    setup(DeviceSettings(isa="native"))
    found = measure(
        options.model, batch=options.batch, runs=options.runs, image_size=options.image_size
    )
    command = ["python", "-m", "ms_eff.bench.vit", *(sys.argv[1:] if arguments is None else ())]
    results = {"environment": environment.describe(command, seed=0), **found}
    with replacing(options.output) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for kind in LIMITS:
        print(told(f"{options.model} {kind}", found[kind]))
    return 0 if all(found[kind]["met"] for kind in LIMITS) else 1


def _row(kind: str, comparison: Comparison) -> dict[str, Any]:
    return ratio_row(comparison, LIMITS[kind])


def _twin(network: Any, seed: int) -> Any:
    """Return transformers' ViT of the same sizes; the network takes over its weights."""
    try:
        import torch
        from safetensors.torch import save_file
        from transformers import ViTConfig, ViTForImageClassification
    except ImportError as error:
        raise SetupError(
            f"the other side is torch, and {error.name} is missing: "
            "pip install 'ms_eff[cross-check]'"
        ) from error
    from ms_eff.models import load_weights

    torch.manual_seed(seed)
    torch.set_num_threads(environment.cores())
    block = network.blocks[0]
    config = ViTConfig(
        hidden_size=network.dim,
        num_hidden_layers=len(network.blocks),
        num_attention_heads=block.attn.heads,
        intermediate_size=block.mlp.fc1.out_channels,
        layer_norm_eps=1e-6,
        image_size=network.image_size,
        patch_size=network.patch_embed.proj.patch,
        num_channels=network.patch_embed.proj.channels,
        num_labels=network.head.out_channels,
    )
    twin = ViTForImageClassification(config)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "twin.safetensors"
        save_file(twin.state_dict(), file)
        load_weights(network, file)
    return twin


def _ours(
    network: Any, images: np.ndarray, labels: np.ndarray
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return the training step and the inference of this library's network."""
    import mindspore as ms

    from ms_eff.bench.latency import MomentumStep

    step = MomentumStep(network).set_train(True)
    # a copy: training moves the weights of the other
    resting = copy.deepcopy(network).set_train(False)
    inputs, targets = ms.Tensor(images), ms.Tensor(labels.astype(np.int32))
    return lambda: step(inputs, targets), lambda: resting(inputs)


def _torch(
    twin: Any, images: np.ndarray, labels: np.ndarray
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return the training step and the inference of the twin."""
    import torch

    resting = copy.deepcopy(twin).eval()
    step = torch_step(twin, images, labels, lambda found: found.logits, lr=1e-4, momentum=0.9)
    inputs = torch.from_numpy(images)

    def forward() -> np.ndarray:
        with torch.no_grad():
            return resting(inputs).logits.numpy()

    return step, forward


if __name__ == "__main__":
    sys.exit(main())
