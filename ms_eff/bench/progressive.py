"""Perplexity of a language model made smaller without training: every rule, beside the references.

One parent, one calibration text, one test text; a row for each rule, allocation and share removed,
written as it is measured, so that the command can be stopped and called again. Beside our rules
stands ASVD's scaling.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ms_eff.bench.rows import Kind, Rows
from ms_eff.errors import UserError
from ms_eff.runtime import DeviceSettings, setup

__all__ = ["KIND", "REFERENCE", "main", "table"]

KIND = Kind("progressive", ("rule", "allocation", "removed"), growing=())

# a rival: `ms_eff.bench.rivals.asvd`
ASVD = "asvd"
# two_sided with statistics measured once more on its own member: `progressive.passes: 2`
TWICE = "two_sided_twice"
RULES = ("plain", ASVD, "activation_aware", "two_sided")
ALLOCATIONS = ("uniform", "global")
SHARES = (0.1, 0.2, 0.3, 0.4, 0.6)

# SmolLM2-135M on WikiText-2's first 20,480 tokens, by an independent torch program
REFERENCE: dict[tuple[str, str], dict[float, float]] = {
    ("dense", ""): {0.0: 20.63},
    ("activation_aware", "uniform"): {0.1: 36.0, 0.2: 44.7, 0.3: 61.4, 0.4: 95.9, 0.6: 300.0},
    ("two_sided", "global"): {0.1: 21.9, 0.2: 26.0, 0.4: 41.0},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not there yet, print the table; return 0, or 2 for a user's mistake."""
    options = _parser().parse_args(arguments)
    setup(DeviceSettings(isa="native"))
    try:
        bench = _Bench(options)
        bench.dense()
        for rule in options.rules:
            bench.rule(rule)
        for removed in options.twice:
            bench.twice(removed)
    except UserError as error:
        print(f"progressive: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(table(bench.rows.rows))
    return 0


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text, the references beneath in brackets.

    >>> row = {"rule": "dense", "allocation": "", "removed": 0.0, "perplexity": 20.6}
    >>> print(table([row])[-50:])
    dense                                 20.6 [20.63]
    """
    shares = (0.0, *SHARES)
    heads = ("dense", *(f"{100 * share:.0f} %" for share in SHARES))
    lines = [f"{'rule':<18}{'allocation':<14}" + "".join(f"{head:>18}" for head in heads)]
    for rule, allocation in dict.fromkeys((r["rule"], r["allocation"]) for r in rows):
        found = {
            r["removed"]: r["perplexity"]
            for r in rows
            if (r["rule"], r["allocation"]) == (rule, allocation)
        }
        known = REFERENCE.get((rule, allocation), {})
        cells = (_cell(found.get(s), known.get(s)) for s in shares)
        lines.append(f"{rule:<18}{allocation:<14}" + "".join(cells).rstrip())
    return "\n".join(lines)


class _Bench:
    """One call: what is read and measured once, and the rows."""

    def __init__(self, options: argparse.Namespace) -> None:
        from ms_eff.data.language import encode_files
        from ms_eff.methods.progressive.core import block_shapes
        from ms_eff.models.parents import load_tokenizer, open_parent

        self.options = options
        self.parent = open_parent(options.parent)
        self.tokenizer = (
            load_tokenizer(options.tokenizer) if options.tokenizer else self.parent.tokenizer()
        )
        self.shapes = block_shapes(self.parent.shape)
        self.ids = encode_files(self.tokenizer, [options.text])
        settings = {
            "parent": options.parent.name,
            "text": options.text.name,
            "tokens": options.tokens,
            "window": options.window,
            "calibration": options.calibration.name,
            "calibration_tokens": options.calibration_tokens,
        }
        command = "python -m ms_eff.bench.progressive"
        self.rows = Rows(options.output, KIND, settings, command)

    def dense(self) -> None:
        """Measure the parent."""
        from ms_eff.models.parents import load_parent

        if self.rows.find(rule="dense", allocation="", removed=0.0) is None:
            params = sum(S * C for S, C in self.shapes.values())
            self._add("dense", "", 0.0, lambda: load_parent(self.parent), params)

    def rule(self, rule: str) -> None:
        """Measure one rule's rows; its matrices are decomposed once for all of them."""
        wanted = [
            (allocation, removed)
            for allocation in self.options.allocations
            for removed in self.options.removed
            if self.rows.find(rule=rule, allocation=allocation, removed=removed) is None
        ]
        if not wanted:
            return
        factors = self._factors(rule)
        for allocation, removed in wanted:
            self._member(rule, factors, allocation, removed)

    def twice(self, removed: float) -> None:
        """Measure the best rule's row with statistics of what that rule makes of the parent."""
        from ms_eff.methods.progressive.compressed import Compressed
        from ms_eff.methods.progressive.truncate import Whitening, decompose

        if self.rows.find(rule=TWICE, allocation="global", removed=removed) is not None:
            return
        factors = self._factors("two_sided")
        ranks = self._ranks(factors, "global", removed)
        name = f"{self.parent.path.name}, {removed:g} removed"
        model = Compressed(self.parent, factors, ranks, name)
        moments = self._moments(model, f"statistics-{removed:g}")
        whitening = Whitening("two_sided", moments)
        print(f"{TWICE}: decomposing {len(self.shapes)} matrices", file=sys.stderr)
        again = decompose(
            self.parent, self.shapes, whitening, self.options.work / f"{TWICE}-{removed:g}"
        )
        self._member(TWICE, again, "global", removed)

    def _moments(self, model: Any, folder: str) -> Any:
        from ms_eff.methods.progressive.calibration import calibrated
        from ms_eff.methods.progressive.settings import CalibrationSettings

        settings = CalibrationSettings(
            files=(self.options.calibration,),
            tokens=self.options.calibration_tokens,
            window=self.options.window,
        )
        return calibrated(
            model,
            self.tokenizer,
            settings,
            self.options.work / folder,
            lambda done, total: print(f"calibration: pass {done}/{total}", file=sys.stderr),
        )

    def _factors(self, rule: str) -> Any:
        from ms_eff.bench.rivals.asvd import ActivationScaling
        from ms_eff.methods.progressive.settings import CRITERION_OF
        from ms_eff.methods.progressive.truncate import Whitening, decompose

        whitening = Whitening("weight", None)
        if rule != "plain":
            moments = self._moments(self.parent, "statistics")
            whitening = (
                ActivationScaling(moments)
                if rule == ASVD
                else Whitening(CRITERION_OF[rule], moments)
            )
        print(f"{rule}: decomposing {len(self.shapes)} matrices", file=sys.stderr)
        return decompose(self.parent, self.shapes, whitening, self.options.work / rule)

    def _member(self, rule: str, factors: Any, allocation: str, removed: float) -> None:
        from ms_eff.methods.progressive.core import family_plan, kept_weights
        from ms_eff.methods.progressive.members import assembled, build_member

        ranks = self._ranks(factors, allocation, removed)

        def network() -> Any:
            pairs = {name: factors.pair(name, rank) for name, rank in ranks.items() if rank}
            plan = family_plan(self.shapes, ranks, {})
            return build_member(self.parent.shape, plan, assembled(self.parent, pairs))

        self._add(rule, allocation, removed, network, kept_weights(self.shapes, ranks))

    def _ranks(self, factors: Any, allocation: str, removed: float) -> dict[str, int | None]:
        from ms_eff.methods.progressive.core import global_ranks, uniform_ranks

        ratio = 1 / (1 - removed)
        if allocation == "uniform":
            return uniform_ranks(self.shapes, ratio)
        losses = {name: factors.losses(name) for name in self.shapes}
        return global_ranks(self.shapes, losses, ratio)

    def _add(
        self, rule: str, allocation: str, removed: float, network: Callable[[], Any], params: int
    ) -> None:
        from ms_eff.train.perplexity import perplexity

        options = self.options
        found = perplexity(network(), self.ids, window=options.window, tokens=options.tokens)
        row = {"rule": rule, "allocation": allocation, "removed": removed}
        self.rows.add({**row, "block_params": params, "perplexity": found.value})
        print(f"{rule} {allocation} {removed:.0%}: {found.value:.2f}", file=sys.stderr)


def _cell(found: float | None, known: float | None) -> str:
    text = "" if found is None else f"{found:.1f}" if found < 1e4 else f"{found:.1e}"
    return f"{text + (f' [{known:g}]' if text and known else ''):>18}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--parent", type=Path, required=True, help="Hugging Face folder, or a .gguf file")
    add("--tokenizer", type=Path, help="tokenizer.json, if not the parent's own")
    add("--text", type=Path, required=True, help="what the perplexity is of (WikiText-2 test)")
    add("--tokens", type=int, default=20_480, help="of it, from its start (default 20480)")
    add("--window", type=int, default=1024, help="tokens that see each other (default 1024)")
    add("--calibration", type=Path, required=True, help="another text (WikiText-2 valid)")
    add("--calibration-tokens", type=int, default=131_072, help="of it (default 131072)")
    add("--rules", nargs="+", choices=RULES, default=list(RULES))
    add("--allocations", nargs="+", choices=ALLOCATIONS, default=list(ALLOCATIONS))
    add("--removed", nargs="+", type=float, default=list(SHARES), help="shares of block linears")
    add(
        "--twice",
        nargs="*",
        type=float,
        default=[0.2, 0.4],
        metavar="SHARE",
        help="shares for two_sided with statistics measured once more on its own member; each "
        "takes a calibration (default 0.2 0.4)",
    )
    add("--work", type=Path, default=Path("runs/progressive"), help="statistics and factors")
    add("--output", type=Path, default=Path("results/progressive.json"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
