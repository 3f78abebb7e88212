"""Perplexity of a language model made smaller without training: every rule, beside the references.

One parent, one calibration text, one test text; a row for each rule, allocation and share removed,
written as it is measured, so that the command can be stopped and called again. Beside our rules
stands ASVD's scaling.
"""

from __future__ import annotations

import argparse
import gc
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_eff.bench.accuracy_runs import call
from ms_eff.bench.progressive_cells import (
    ALLOCATIONS,
    ASVD,
    IN_ORDER,
    LOSSES,
    RULES,
    SHARES,
    TWICE,
    ordered,
    table,
    verdicts,
)
from ms_eff.bench.rows import Kind, Rows
from ms_eff.runtime import DeviceSettings, setup
from ms_eff.train.interrupt import own_signals

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import Console

    from ms_eff.methods.progressive.statistics import SavedMoments
    from ms_eff.methods.progressive.truncate import Decomposed

__all__ = ["KIND", "main"]

KIND = Kind("progressive", ("rule", "allocation", "removed"), growing=())

_MODULE = "ms_eff.bench.progressive"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not there yet; return 0, 2 for a user's mistake, 130 or 143 when stopped."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    command = shlex.join(["python", "-m", _MODULE, *words])

    def job(console: Console) -> None:
        setup(DeviceSettings(isa="native"))
        bench = _Bench(
            options, command, lambda line: console.print(line, highlight=False, markup=False)
        )
        bench.dense()
        for rule, allocation in ordered(options.rules, options.allocations):
            bench.cell(rule, allocation)
        for removed in _shares(options, options.in_order, "activation_aware"):
            bench.in_order(removed)
        for removed in _shares(options, options.twice, "two_sided"):
            bench.twice(removed)
        print(table(bench.rows.rows))
        print(*verdicts(bench.rows.rows), sep="\n")

    return call("progressive", command, options.work, job)


class _Bench:
    """One call: what is read and measured once, and the rows."""

    def __init__(
        self, options: argparse.Namespace, command: str, tell: Callable[[str], None]
    ) -> None:
        from ms_eff.data.language import encode_files, windows
        from ms_eff.methods.progressive.calibration import calibration_windows
        from ms_eff.methods.progressive.core import block_shapes
        from ms_eff.methods.progressive.identity import ids_digest, model_digest
        from ms_eff.methods.progressive.settings import CalibrationSettings
        from ms_eff.models.parents import load_tokenizer, open_parent

        self.options, self.tell = options, tell
        self.parent = open_parent(options.parent)
        self.tokenizer = (
            load_tokenizer(options.tokenizer) if options.tokenizer else self.parent.tokenizer()
        )
        self.shapes = block_shapes(self.parent.shape)
        self.ids = encode_files(self.tokenizer, [options.text])
        self.calibration = CalibrationSettings(
            files=(options.calibration,),
            tokens=options.calibration_tokens,
            window=options.window,
        )
        self.seen = seen = calibration_windows(self.parent, self.tokenizer, self.calibration)
        settings = {
            "parent": options.parent.name,
            "parent_digest": model_digest(self.parent),
            "text": options.text.name,
            "text_digest": ids_digest(windows(self.ids, options.window, options.tokens)),
            "tokens": options.tokens,
            "window": options.window,
            "calibration": options.calibration.name,
            "calibration_digest": ids_digest(seen),
            "calibration_tokens": int(seen.size),  # what there is may be less than what was asked
        }
        self.rows = Rows(options.output, KIND, settings, command)
        self._decomposed: dict[str, Decomposed] = {}

    def dense(self) -> None:
        """Measure the parent."""
        from ms_eff.models.parents import load_parent

        if self.rows.find(rule="dense", allocation="", removed=0.0) is None:
            params = sum(S * C for S, C in self.shapes.values())
            self._add("dense", "", 0.0, lambda: load_parent(self.parent), params)

    def cell(self, rule: str, allocation: str) -> None:
        """Measure one cell at every share; a rule's matrices are decomposed once for all."""
        for removed in self.options.removed:
            if self.rows.find(rule=rule, allocation=allocation, removed=removed) is None:
                self._member(rule, self._factors(rule), allocation, removed)

    def twice(self, removed: float) -> None:
        """Measure the best rule's row with statistics of what that rule makes of the parent."""
        from ms_eff.methods.progressive.compressed import Compressed
        from ms_eff.methods.progressive.truncate import Whitening

        if self.rows.find(rule=TWICE, allocation="global", removed=removed) is not None:
            return
        factors = self._factors("two_sided")
        ranks = self._ranks(factors, "global", removed)
        name = f"{self.parent.path.name}, {removed:g} removed"
        model = Compressed(self.parent, factors, ranks, name)
        moments = self._measured(model, f"statistics-{removed:g}")
        again = self._decompose(f"{TWICE}-{removed:g}", Whitening("two_sided", moments))
        self._member(TWICE, again, "global", removed)

    def in_order(self, removed: float) -> None:
        """Measure the whitened rule where each block is fed by those truncated before it."""
        from ms_eff.bench.rivals.in_order import decompose_in_order
        from ms_eff.methods.progressive.core import uniform_ranks

        if self.rows.find(rule=IN_ORDER, allocation="uniform", removed=removed) is not None:
            return
        ranks = {n: r for n, r in uniform_ranks(self.shapes, 1 / (1 - removed)).items() if r}
        depth = self.parent.shape.depth
        factors = decompose_in_order(
            self.parent,
            self.seen,
            ranks,
            self.options.work / f"{IN_ORDER}-{removed:g}",
            lambda done: self.tell(f"{IN_ORDER} {removed:.0%}: block {done}/{depth}"),
        )
        self._member(IN_ORDER, factors, "uniform", removed)

    @cached_property
    def _moments(self) -> SavedMoments:
        return self._measured(self.parent, "statistics")

    def _measured(self, model: Any, folder: str) -> SavedMoments:
        from ms_eff.methods.progressive.calibration import calibrated

        return calibrated(
            model,
            self.tokenizer,
            self.calibration,
            self.options.work / folder,
            lambda done, total: self.tell(f"calibration: pass {done}/{total}"),
        )

    def _factors(self, rule: str) -> Decomposed:
        from ms_eff.bench.rivals.asvd import ActivationScaling
        from ms_eff.methods.progressive.settings import CRITERION_OF
        from ms_eff.methods.progressive.truncate import Whitening

        if rule not in self._decomposed:
            if rule == "plain":
                whitening = Whitening("weight", None)
            elif rule == ASVD:
                whitening = ActivationScaling(self._moments)
            else:
                whitening = Whitening(CRITERION_OF[rule], self._moments)
            self._decomposed[rule] = self._decompose(rule, whitening)
        return self._decomposed[rule]

    def _decompose(self, name: str, whitening: Any) -> Decomposed:
        from ms_eff.methods.progressive.truncate import decompose

        self.tell(f"{name}: decomposing {len(self.shapes)} matrices")
        return decompose(self.parent, self.shapes, whitening, self.options.work / name)

    def _member(self, rule: str, factors: Decomposed, allocation: str, removed: float) -> None:
        from ms_eff.methods.progressive.core import family_plan, kept_weights
        from ms_eff.methods.progressive.members import assembled, build_member
        from ms_eff.methods.progressive.truncate import Cut

        ranks = self._ranks(factors, allocation, removed)

        def network() -> Any:
            plan = family_plan(self.shapes, ranks, {})
            arrays = assembled(self.parent, Cut(factors, ranks))
            return build_member(self.parent.shape, plan, arrays)

        self._add(rule, allocation, removed, network, kept_weights(self.shapes, ranks))

    def _ranks(self, factors: Decomposed, allocation: str, removed: float) -> dict[str, int | None]:
        from ms_eff.methods.progressive.core import global_ranks, uniform_ranks

        ratio = 1 / (1 - removed)
        if allocation == "uniform":
            return uniform_ranks(self.shapes, ratio)
        losses = {name: self._losses(factors, allocation, name) for name in self.shapes}
        return global_ranks(self.shapes, losses, ratio)

    def _losses(self, factors: Decomposed, allocation: str, name: str) -> NDArray[Any]:
        if allocation == "global":
            return factors.losses(name)
        gradient = 1.0
        if allocation == "global_gradient":  # the others need no statistics
            gradient = float(self._moments.gradients(name).diagonal().mean())
        return LOSSES[allocation](factors.energies(name), gradient)

    def _add(
        self, rule: str, allocation: str, removed: float, network: Callable[[], Any], params: int
    ) -> None:
        from ms_eff.train.perplexity import perplexity

        options = self.options
        found = perplexity(network(), self.ids, window=options.window, tokens=options.tokens)
        row = {"rule": rule, "allocation": allocation, "removed": removed}
        self.rows.add({**row, "block_params": params, "perplexity": found.value})
        gc.collect()  # compiled graphs go with the cells that own them
        self.tell(f"{rule} {allocation} {removed:.0%}: {found.value:.2f}")


def _shares(options: argparse.Namespace, said: list[float] | None, rule: str) -> list[float]:
    """Return the shares of a dear row: an hour each, so never more than what was asked for."""
    if said is not None:
        return said
    asked = options.removed if rule in options.rules else []
    return [share for share in (0.2, 0.4) if share in asked]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    add = parser.add_argument
    add("--parent", type=Path, required=True, help="Hugging Face folder, or a .gguf file")
    add("--tokenizer", type=Path, help="tokenizer.json, if not the parent's own")
    add("--text", type=Path, required=True, help="what the perplexity is of (WikiText-2 test)")
    add("--tokens", type=int, default=20_480, help="of it, from its start (default 20480)")
    add("--window", type=int, default=1024, help="tokens that see each other (default 1024)")
    add("--calibration", type=Path, required=True, help="another text (WikiText-2 valid)")
    add("--calibration-tokens", type=int, default=131_072, help="of it (default 131072)")
    add("--rules", nargs="+", choices=RULES, default=list(RULES))
    add(
        "--allocations",
        nargs="+",
        choices=ALLOCATIONS,
        help="of every rule (default: uniform and global, and activation_aware's others)",
    )
    add("--removed", nargs="+", type=float, default=list(SHARES), help="shares of block linears")
    add(
        "--twice",
        nargs="*",
        type=float,
        metavar="SHARE",
        help="shares for two_sided with statistics measured once more on its own member; each "
        "takes a calibration (default: 0.2 and 0.4, where --rules and --removed name them)",
    )
    add(
        "--in-order",
        nargs="*",
        type=float,
        metavar="SHARE",
        help="shares for activation_aware where each block is fed by those truncated before it; "
        "each takes about half a calibration (default as for --twice)",
    )
    add("--work", type=Path, default=Path("runs/progressive"), help="statistics and factors")
    add("--output", type=Path, default=Path("results/progressive.json"))
    return parser


if __name__ == "__main__":
    own_signals()
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the progress
    sys.exit(main())
