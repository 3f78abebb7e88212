"""How long a 7B model's matrices take to decompose, by each rule, on the host.

Random weights and statistics of the shapes of LLaMA-2-7B: a matrix of each kind is timed, and the
time of all 224 follows. Each run is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ms_eff.bench import environment
from ms_eff.bench.child import measured_apart
from ms_eff.bench.decompose import peak_bytes
from ms_eff.files import replacing
from ms_eff.methods.lowrank.criteria import damped_gradients, damped_inputs
from ms_eff.methods.lowrank.roots import InputMoment, output_root
from ms_eff.methods.lowrank.weighted import nested_factors, weighted_loss
from ms_eff.methods.progressive.core import highest_rank

__all__ = ["LLAMA_2_7B", "main", "measure"]

RULES = ("plain", "activation_aware", "two_sided")
# (S, C) of each matrix and how many there are
LLAMA_2_7B = {(4096, 4096): 4 * 32, (11008, 4096): 2 * 32, (4096, 11008): 32}
SECONDS = 90.0  # what 4096 x 11008 may take on 2 cores


def measure(shape: tuple[int, int], rule: str, seed: int = 0) -> dict[str, Any]:
    """Decompose one random matrix (S, C) for all ranks; return what it took and how well it went.

    Args:
        shape: of the matrix.
        rule: `plain`, `activation_aware` or `two_sided`.
        seed: of the weight and of the statistics, which come from fewer rows than columns.
    """
    S, C = shape
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(shape, dtype=np.float32)
    G = _gram(C, rng) if rule != "plain" else None
    F = _gram(S, rng) if rule == "two_sided" else None
    start = time.perf_counter()
    inputs = gradients = None
    if G is not None:
        G = damped_inputs(G)
        inputs = InputMoment(G)
    if F is not None:
        F = damped_gradients(F)
        gradients = output_root(F)
    found = nested_factors(weight, highest_rank(shape), inputs, gradients)
    seconds = time.perf_counter() - start
    rank = len(found.first) // 2
    missed = weight - found.last[:, :rank] @ found.first[:rank]
    return {
        "seconds": seconds,
        "peak_bytes": peak_bytes(),
        # of half the ranks: the loss of the factors over that of the singular values left out
        "loss_over_minimum": weighted_loss(missed, G, F) / float(found.losses[rank - 1]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every shape and rule, write the results; return 1 if the demand is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/decompose_llm.json"))
    parser.add_argument("--one", nargs=3, metavar=("S", "C", "RULE"), help="JSON to stdout")
    options = parser.parse_args(arguments)
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before anything is measured
    if options.one:
        S, C, rule = options.one
        print(json.dumps(measure((int(S), int(C)), rule)))
        return 0
    rows = [
        {"shape": shape, "rule": rule, **_apart(shape, rule)}
        for rule in RULES
        for shape in LLAMA_2_7B
    ]
    whole = {
        rule: sum(r["seconds"] * LLAMA_2_7B[r["shape"]] for r in rows if r["rule"] == rule)
        for rule in RULES
    }
    command = "python -m ms_eff.bench.decompose_llm"
    results = {
        "environment": environment.describe(command, seed=0),
        "rows": rows,
        "llama_2_7b_seconds": whole,
        "wanted_seconds": SECONDS,
    }
    with replacing(options.output) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(
            f"{row['rule']} {row['shape']}: {row['seconds']:.1f} s, {row['peak_bytes'] / 1e9:.2f} "
            f"GB, loss over minimum - 1 = {row['loss_over_minimum'] - 1:.1e}"
        )
    for rule, seconds in whole.items():
        print(f"{rule}: LLaMA-2-7B in {seconds / 3600:.2f} h, every root taken anew")
    # of the two one-sided rules; the loss's side is dearer, and nobody promised it
    asked = [r for r in rows if r["shape"] == (4096, 11008) and r["rule"] != "two_sided"]
    return 0 if all(row["seconds"] < SECONDS for row in asked) else 1


def _gram(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a second moment of half rank, its directions of very different strength."""
    rows = rng.standard_normal((size // 2, size), dtype=np.float32)
    rows *= np.geomspace(1, 1e-2, size, dtype=np.float32)
    return (rows.T @ rows).astype(np.float64) / len(rows)


def _apart(shape: tuple[int, int], rule: str) -> dict[str, Any]:
    one = ["--one", str(shape[0]), str(shape[1]), rule]
    return measured_apart(f"{rule} {shape}", "ms_eff.bench.decompose_llm", one)


if __name__ == "__main__":
    sys.exit(main())
