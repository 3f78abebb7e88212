"""A network of your own, made low-rank, trained with plain MindSpore, and exported.

python examples/own_network.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import ms_eff


def main() -> None:
    """Train, decompose, tune, export; print accuracy and parameters at each point."""
    build_model, apply_lowrank, export = ms_eff.build_model, ms_eff.apply_lowrank, ms_eff.export
    import mindspore as ms
    from mindspore import nn
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 1, 8, 8) / 16 - 0.3).astype("float32")
    labels = labels.astype("int32")
    tests = ms.Tensor(images[1400:])

    def train(network: nn.Cell, epochs: int) -> None:
        optimizer = nn.Adam(network.trainable_params(), 2e-3)
        loss = nn.WithLossCell(network, nn.CrossEntropyLoss())
        step = nn.TrainOneStepCell(loss, optimizer).set_train(True)
        for start in list(range(0, 1400, 56)) * epochs:
            batch = slice(start, start + 56)
            step(ms.Tensor(images[batch]), ms.Tensor(labels[batch]))

    def tell(stage: str, network: nn.Cell) -> None:
        found = network.set_train(False)(tests).asnumpy().argmax(1)
        count = sum(parameter.size for parameter in network.trainable_params())
        print(f"{stage:<12}{100 * (found == labels[1400:]).mean():6.1f} %{count:>9,} parameters")

    network = build_model("resnet18", stem="cifar", width=8, in_channels=1, num_classes=10, seed=0)
    train(network, 4)
    tell("dense", network)
    compressed, plan, _ = apply_lowrank(network, ratio=2.0)
    tell("decomposed", compressed)
    train(compressed, 4)
    tell("fine-tuned", compressed)
    with tempfile.TemporaryDirectory() as folder:
        export(compressed, Path(folder) / "digits.onnx", (1, 1, 8, 8))  # checked, or not written
        print(f"exported; {len(plan.layers)} layers are low-rank")


if __name__ == "__main__":
    main()
