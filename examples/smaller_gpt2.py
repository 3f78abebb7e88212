"""A GPT-2 from your own text: tokenizer, training, half of its blocks, distillation, perplexities.

python examples/smaller_gpt2.py TEXT.txt [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ms_eff

CONFIG = """
output: {folder}/run
seed: 0
device: {{isa: native}}
model: {{name: gpt2, dim: 48, depth: 4, heads: 4, positions: 32}}
data:
  name: language
  root: {root}
  tokenizer: {folder}/tokenizer.json
  train_files: [{text}]
  block: 32
  batch_size: 16
  train_limit: 320
  test_limit: 32
pretrain: {{epochs: 3, optimizer: adamw, lr: 3e-3, clip_norm: 1.0}}
train: {{epochs: 1, optimizer: adamw, lr: 1e-3, clip_norm: 1.0}}
methods:
  - truncation: {{keep: 2, rule: pseudo_uniform}}
  - distillation: {{kind: vanilla}}  # the teacher: the network before it was cut
"""


def main(text: Path, folder: Path) -> None:
    """Train a teacher, cut it, distil it into the rest, and print perplexities."""
    ms_eff.train_bpe([text], 512, folder / "tokenizer.json")
    path = folder / "gpt2.yaml"
    filled = CONFIG.format(folder=folder, root=text.parent.resolve(), text=text.name)
    path.write_text(filled, encoding="utf-8")
    from ms_eff.experiment import Experiment

    results = Experiment(ms_eff.load_config(path), "examples/smaller_gpt2.py").train()
    for stage, found in results.stages.items():
        print(f"{stage}: perplexity {found['perplexity']:.1f}, {found['params']:,} parameters")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("python examples/smaller_gpt2.py TEXT.txt [FOLDER]")
    if len(sys.argv) > 2:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(sys.argv[1]), Path(temporary))
