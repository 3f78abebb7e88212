"""Whether frames come in order or backwards: learned with the temporal branch, not without it."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from ms_eff.data import DataSettings, build
from ms_eff.methods.spatiotemporal import apply_spatiotemporal
from ms_eff.models.eco_lite import EcoLite
from ms_eff.train.step import Forward

STEPS, BATCH = 60, 32


def accuracy_of(variant: str) -> float:
    data = build(DataSettings(name="motion_digits", image_size=8, frames=6, task="reversal"))
    network = EcoLite("small", (8,), frames=6, image_size=8, in_channels=1, num_classes=2)
    network = apply_spatiotemporal(network, variant, fresh_seed=1)[0].set_train(True)
    step = nn.TrainOneStepCell(
        Loss(network), nn.Adam(network.trainable_params(), learning_rate=5e-3)
    )
    rng = np.random.default_rng(0)
    for at in range(STEPS):
        chosen = rng.choice(len(data.train), BATCH, replace=False)
        clips, labels = data.train.batch(chosen, (0, at))
        step(ms.Tensor(clips), ms.Tensor(labels))
    clips, labels = data.test.batch(np.arange(256))
    found = network.set_train(False)(ms.Tensor(clips)).asnumpy().argmax(1)
    return float((found == labels).mean())


class Loss(nn.Cell):
    """The loss alone."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.forward = Forward(network, nn.CrossEntropyLoss())

    def construct(self, clips: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
        return self.forward(clips, labels)[0]


@pytest.mark.gate
def test_order_of_frames_takes_the_temporal_branch():
    assert accuracy_of("spatial") < 0.62
    assert accuracy_of("add") > 0.8
