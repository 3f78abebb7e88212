"""Progressive against one-shot compression at the same final size and the same total tokens.

Beside them the dense parent trained on the same text, so that adapting to the text is not taken for
recovery. What to do is a config of `ms-eff compress`, its `tokens` those of each progressive step.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_eff.bench.rows import Kind, Rows
from ms_eff.config import load_any
from ms_eff.errors import ConfigError
from ms_eff.methods.progressive.settings import FamilyConfig

if TYPE_CHECKING:
    from ms_eff.methods.progressive.family import Family

__all__ = ["ARMS", "main"]

KIND = Kind("progressive_recovery", ("arm", "seed"))
ARMS = ("dense", "one_shot", "progressive")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train every arm and seed that is not there yet, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("config", type=Path, help="of a family with tokens and recovery.files")
    add("overrides", nargs="*", help="key=value, as ms-eff compress takes them")
    add("--seeds", nargs="+", type=int, default=[0, 1])
    add("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    add("--work", type=Path, default=Path("runs/progressive_recovery"))
    add("--output", type=Path, default=Path("results/progressive_recovery.json"))
    options = parser.parse_args(arguments)
    config = load_any(options.config, options.overrides)
    if not isinstance(config, FamilyConfig) or not config.progressive.tokens:
        raise ConfigError(f"{options.config}: a family that trains is needed; set tokens")
    settings = config.model_dump(mode="json", exclude={"output", "seed", "device", "methods"})
    settings |= {"progressive": config.progressive.model_dump(mode="json"), "seeds": options.seeds}
    command = "python -m ms_eff.bench.progressive_recovery"
    rows = Rows(options.output, KIND, settings, command)
    for seed in options.seeds:
        for arm in options.arms:
            if rows.find(arm=arm, seed=seed) is None:
                rows.add(_measured(arm, seed, config, options.work))
    for row in rows.rows:
        print(
            f"seed {row['seed']} {row['arm']}: perplexity {row['perplexity']:.2f} · "
            f"{row['params']:,} parameters · {row['trained_tokens']:,} tokens · "
            f"{row['seconds'] / 60:.1f} min"
        )
    return 0


def _measured(arm: str, seed: int, config: FamilyConfig, work: Path) -> dict[str, Any]:
    from ms_eff.methods.progressive.family import Family

    family = Family(_arm(arm, seed, config, work), "python -m ms_eff.bench.progressive_recovery")
    start = time.monotonic()
    row = _dense(family) if arm == "dense" else family.run()[-1]
    wanted = ("params", "block_params", "perplexity", "loss", "trained_tokens")
    seconds = time.monotonic() - start
    return {"arm": arm, "seed": seed, **{k: row[k] for k in wanted}, "seconds": seconds}


def _arm(arm: str, seed: int, config: FamilyConfig, work: Path) -> FamilyConfig:
    """Return the config of an arm: one step of all tokens, or all the steps."""
    given = config.progressive
    method = given
    if arm != "progressive":
        method = given.model_copy(
            update={
                "ratios": given.ratios[-1:],
                "tokens": given.tokens * len(given.ratios),
                "step": "joint",  # there is no second step
            }
        )
    evaluation = config.evaluation.model_copy(update={"baseline": False})
    calibration = config.calibration
    if calibration is not None and calibration.statistics is None:
        calibration = calibration.model_copy(update={"statistics": work / "statistics"})
    return config.model_copy(
        update={
            "output": work / f"{arm}-{seed}",
            "seed": seed,
            "methods": ({"progressive": method},),
            "evaluation": evaluation,
            "calibration": calibration,
        }
    )


def _dense(family: Family) -> dict[str, Any]:
    """Train the parent itself on as many tokens."""
    from ms_eff.models.parents import load_parent

    network = load_parent(family.parent)
    family.train(0, network)
    sizes = family.sizes(dict.fromkeys(family.shapes))
    return {**sizes, "trained_tokens": family.tokens_a_step(), **family.judge.score(network)}


if __name__ == "__main__":
    sys.exit(main())
