"""Sentences of two moods in SST-2's layout, and a tokenizer of their words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

GOOD = ["good", "fine", "warm", "funny", "moving"]
BAD = ["bad", "dull", "cold", "slow", "empty"]
PLAIN = [
    "the",
    "a",
    "film",
    "story",
    "and",
    "of",
    "this",
    "that",
    "plot",
    "with",
    "cast",
    "it",
    "is",
]


def write_sst2(folder: Path, train: int = 60, dev: int = 20, seed: int = 0) -> Path:
    """Write train.tsv, dev.tsv, test.tsv and tokenizer.json."""
    rng = np.random.default_rng(seed)
    for name, rows in (("train", train), ("dev", dev), ("test", dev)):
        lines = []
        for i in range(rows):
            words = [*rng.choice(PLAIN, rng.integers(1, 14)), rng.choice(GOOD if i % 2 else BAD)]
            rng.shuffle(words)
            lines.append(f"{' '.join(words)}\t{i % 2}")
        (folder / f"{name}.tsv").write_text("\n".join(lines), encoding="utf-8")
    write_tokenizer(folder / "tokenizer.json")
    return folder


def write_tokenizer(path: Path) -> None:
    """Write a word-level tokenizer that frames texts as BERT's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *PLAIN, *GOOD, *BAD]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(path))


def write_texts(folder: Path, sentences: int = 200, seed: int = 0, vocab: int = 300) -> Path:
    """Write a.txt, b.txt and a tokenizer.json trained on them: plain text for language models."""
    from ms_eff.data.bpe import train_bpe

    rng = np.random.default_rng(seed)
    for name in ("a", "b"):
        lines = [
            f"{' '.join(rng.choice(PLAIN, rng.integers(3, 9)))} {rng.choice([*GOOD, *BAD])}."
            for _ in range(sentences)
        ]
        (folder / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    train_bpe([folder / "a.txt", folder / "b.txt"], vocab, folder / "tokenizer.json")
    return folder
