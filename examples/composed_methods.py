"""Several methods in one config, from Python: what each changes, and the results of the run.

python examples/composed_methods.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ms_eff

CONFIG = """
output: {folder}
seed: 0
model: {{name: resnet9, form: competition, width: 8}}
data: {{name: digits, image_size: 16, batch_size: 32, augment: crop_flip, cutout: 4}}
train:
  epochs: 30
  optimizer: momentum
  nesterov: true
  lr: 0.4
  schedule: peak
  label_smoothing: 0.1
methods:
  - patch_whitening: {{patch: 2, both_signs: true}}     # another first layer, made from the images
  - lowrank: {{ratio: 1.5, exclude: ["prep.*"]}}        # other convolutions
  - swiftlearn: {{keep: 0.5, warmup_epochs: 10}}         # other samples
  - sam: {{rho: 0.05}}                                  # another gradient
  - gradient_centralization: {{}}                       # and another one from it
"""


def main(folder: Path) -> None:
    """Train with five methods at once and print what came of it."""
    path = folder / "composed.yaml"
    path.write_text(CONFIG.format(folder=folder / "run"), encoding="utf-8")
    config = ms_eff.load_config(path, ["data.train_limit=640", "data.test_limit=200"])
    from ms_eff.experiment import Experiment

    results = Experiment(config, "examples/composed_methods.py").train()
    for stage, found in results.stages.items():
        score = f"accuracy {found['accuracy']:.3f}, " if "accuracy" in found else ""
        print(f"{stage}: {score}{found['params']:,} parameters")
    chosen = results.methods["swiftlearn"]
    print(f"samples trained on: {chosen['samples_trained']} of {30 * 640}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
