"""Progressive against one-shot compression at equal sizes and tokens, each member a row.

Beside them the dense parent trained on the same text, so that adapting to the text is not taken for
recovery. What to do is a config of `ms-eff compress`, its `tokens` those of each progressive step;
its k-th member has seen k times as many, and so have the others that stand beside it.
"""

from __future__ import annotations

import argparse
import gc
import os
import shlex
import shutil
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_eff.bench.accuracy_runs import call
from ms_eff.bench.rows import Kind, Rows
from ms_eff.bench.stopwatch import Stopwatch
from ms_eff.config import load_any
from ms_eff.errors import ConfigError
from ms_eff.methods.progressive.settings import FamilyConfig
from ms_eff.train.interrupt import own_signals

if TYPE_CHECKING:
    from rich.console import Console

    from ms_eff.methods.progressive.family import Family

__all__ = ["ARMS", "KIND", "TARGETS", "Case", "arm_config", "cases", "main", "summary"]

KIND = Kind("progressive_recovery", ("arm", "seed", "ratio"))
ARMS = ("dense", "one_shot", "progressive")
# share of block weights removed -> perplexity over that of the dense parent on the same tokens
TARGETS = {0.2: 1.10, 0.4: 1.35}

_MODULE = "ms_eff.bench.progressive_recovery"
_WANTED = ("params", "block_params", "perplexity", "loss", "trained_tokens")
_IF_ASKED = ("zero_shot", "samples")


@dataclass(frozen=True)
class Case:
    """One row to measure.

    Attributes:
        arm: one of `ARMS`.
        seed: of the text's order.
        index: of the ratio in the config.
        ratio: of the member; a dense parent stands beside it.
    """

    arm: str
    seed: int
    index: int
    ratio: float

    @property
    def run(self) -> str:
        """The folder of the run that makes it: a one-shot step is the first of the progressive."""
        if self.arm == "progressive" or (self.arm == "one_shot" and not self.index):
            return f"progressive-{self.seed}"
        return f"{self.arm}-{self.ratio:g}-{self.seed}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is not there yet; return 0, 2 for a user's mistake, 130 or 143 when stopped."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_intermixed_args(words)
    command = shlex.join(["python", "-m", _MODULE, *words])

    def job(console: Console) -> None:
        config = load_any(options.config, options.overrides)
        if not isinstance(config, FamilyConfig) or not config.progressive.tokens:
            raise ConfigError(f"{options.config}: a family that trains is needed; set tokens")
        rows = Rows(options.output, KIND, _settings(config, options.seeds), command)
        for case in cases(config, options.seeds, options.arms):
            if rows.find(arm=case.arm, seed=case.seed, ratio=case.ratio) is None:
                rows.add(_measured(case, config, options.work, command, console))
                if case.arm == "dense":  # nothing but its checkpoints is there
                    shutil.rmtree(options.work / case.run / "train", ignore_errors=True)
                gc.collect()  # compiled graphs go with the cells that own them
        print(summary(rows.rows))

    return call("progressive_recovery", command, options.work, job)


def cases(config: FamilyConfig, seeds: Sequence[int], arms: Sequence[str]) -> Iterator[Case]:
    """Yield the rows to measure, seed by seed and size by size."""
    for seed in seeds:
        for index, ratio in enumerate(config.progressive.ratios):
            yield from (Case(arm, seed, index, ratio) for arm in ARMS if arm in arms)


def arm_config(case: Case, config: FamilyConfig, work: Path) -> FamilyConfig:
    """Return the config of the run that makes a row: all the steps, or one of as many batches."""
    from ms_eff.methods.progressive.recovery import steps_for

    method, recovery = config.progressive, config.recovery
    assert recovery is not None  # the config's own check: tokens are to be trained on
    if not case.run.startswith("progressive"):
        batch = recovery.batch * recovery.block
        method = method.model_copy(
            update={
                "ratios": (case.ratio,),
                # whole batches: rounding up once is not rounding up in every step
                "tokens": steps_for(method.tokens, recovery) * batch * (case.index + 1),
                "step": "joint",  # there is no second step
            }
        )
    calibration = config.calibration
    if calibration is not None and calibration.statistics is None:
        calibration = calibration.model_copy(update={"statistics": work / "statistics"})
    return config.model_copy(
        update={
            "output": work / case.run,
            "seed": case.seed,
            "methods": ({"progressive": method},),
            "evaluation": config.evaluation.model_copy(update={"baseline": False}),
            "calibration": calibration,
        }
    )


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a line a row, then each size's perplexity over the dense parent's, and the target."""
    lines = [
        f"seed {row['seed']} · ratio {row['ratio']:g} · {row['arm']}: perplexity "
        f"{row['perplexity']:.2f} · {row['params']:,} parameters · {row['trained_tokens']:,} "
        f"tokens · {row['seconds'] / 60:.1f} min"
        for row in rows
    ]
    dense = {(r["seed"], r["ratio"]): r["perplexity"] for r in rows if r["arm"] == "dense"}
    for ratio in sorted({row["ratio"] for row in rows}):
        removed = round(1 - 1 / ratio, 2)
        for arm in ARMS[1:]:
            found = [
                row["perplexity"] / dense[row["seed"], ratio]
                for row in rows
                if (row["arm"], row["ratio"]) == (arm, ratio) and (row["seed"], ratio) in dense
            ]
            if found:
                lines.append(_verdict(f"{removed:.0%} removed, {arm}", found, TARGETS.get(removed)))
    return "\n".join(lines)


def _verdict(what: str, found: Sequence[float], target: float | None) -> str:
    mean = statistics.fmean(found)
    line = (
        f"{what}: {mean:.3f} times the dense parent on the same tokens "
        f"({min(found):.3f} to {max(found):.3f}, {len(found)} seeds)"
    )
    if target is None:
        return line
    return f"{line}, at most {target:.2f}: {'met' if mean <= target else 'NOT met'}"


def _measured(
    case: Case, config: FamilyConfig, work: Path, command: str, console: Console
) -> dict[str, Any]:
    """Make one row; its seconds are those of its run up to there, in all calls."""
    from ms_eff.methods.progressive.family import Family

    family = Family(arm_config(case, config, work), command, console)
    if case.arm != "dense":
        family.truncator.statistics()  # which all arms share: whoever is first must not pay
    with Stopwatch(work / case.run / "seconds.json") as watch:
        if case.arm == "dense":
            row = _dense(family)
            seconds = watch.lap("dense")
        else:
            for row in family.members():
                seconds = watch.lap(f"{row['ratio']:g}")
                if row["ratio"] == case.ratio:
                    break
    found = {name: row[name] for name in _WANTED}
    more = {name: row[name] for name in _IF_ASKED if name in row}
    return {
        **{"arm": case.arm, "seed": case.seed, "ratio": case.ratio},
        **found,
        "seconds": round(seconds, 1),
        **more,
    }


def _dense(family: Family) -> dict[str, Any]:
    """Train the parent itself on as many tokens."""
    from ms_eff.models.parents import load_parent

    network = load_parent(family.parent)
    family.train(0, network)
    sizes = family.sizes(dict.fromkeys(family.shapes))
    return {**sizes, "trained_tokens": family.tokens_a_step(), **family.judge.score(network)}


def _settings(config: FamilyConfig, seeds: Sequence[int]) -> dict[str, Any]:
    """Return what rows depend on: the settings, and what the files hold."""
    from ms_eff.data.language import encode_files, windows
    from ms_eff.methods.progressive.calibration import calibration_windows
    from ms_eff.methods.progressive.identity import ids_digest, model_digest
    from ms_eff.models.parents import load_tokenizer, open_parent

    parent, recovery, judged = open_parent(config.parent.path), config.recovery, config.evaluation
    assert recovery is not None  # the config's own check: tokens are to be trained on
    named = config.parent.tokenizer
    tokenizer = load_tokenizer(named) if named else parent.tokenizer()
    scored = windows(encode_files(tokenizer, judged.files), judged.window, judged.tokens)
    digests = {
        "parent": model_digest(parent),
        "recovery": ids_digest(encode_files(tokenizer, recovery.files)),
        "evaluation": ids_digest(scored),
    }
    if config.calibration is not None:
        digests["calibration"] = ids_digest(
            calibration_windows(parent, tokenizer, config.calibration)
        )
    settings = config.model_dump(mode="json", exclude={"output", "seed", "device", "methods"})
    del settings["recovery"]["save_every"], settings["recovery"]["recompute"]
    method = config.progressive.model_dump(mode="json")
    return {**settings, "digests": digests, "progressive": method, "seeds": list(seeds)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    add = parser.add_argument
    add("config", type=Path, help="of a family with tokens and recovery.files")
    add("overrides", nargs="*", help="key=value, as ms-eff compress takes them")
    add("--seeds", nargs="+", type=int, default=[0, 1])
    add("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    add("--work", type=Path, default=Path("runs/progressive_recovery"))
    add("--output", type=Path, default=Path("results/progressive_recovery.json"))
    return parser


if __name__ == "__main__":
    own_signals()
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the progress
    sys.exit(main())
