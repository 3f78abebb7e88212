"""Tokens a second of language models side by side: prefill, and decoding with a cache.

The first model is the one that the others are compared with; rounds take turns, in one process.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ms_eff.bench import environment
from ms_eff.bench.timers import compare
from ms_eff.errors import SetupError, UserError
from ms_eff.files import replacing
from ms_eff.runtime import DeviceSettings, setup

if TYPE_CHECKING:
    from ms_eff.models.decoding import Decoder

__all__ = ["main"]

_MODULE = "ms_eff.bench.language_speed"


def main(arguments: Sequence[str] | None = None) -> int:
    """Time every model and write the results; return 0, or 2 for a user's mistake."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    add = parser.add_argument
    add("models", type=Path, nargs="+", help="parent and members: folders, or a .gguf file")
    add("--prompt", type=int, default=512, help="tokens of the prompt (default 512)")
    add("--new-tokens", type=int, default=32, help="tokens decoded behind it (default 32)")
    add("--warmup", type=int, default=2)
    add("--runs", type=int, default=10)
    add("--output", type=Path, default=Path("results/language_speed.json"))
    options = parser.parse_args(words)
    try:
        _measure(options, shlex.join(["python", "-m", _MODULE, *words]))
    except UserError as error:
        print(f"language_speed: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _measure(options: argparse.Namespace, command: str) -> None:
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before anything is measured
    setup(DeviceSettings(isa="native"))
    from ms_eff.methods.progressive.members import load_member
    from ms_eff.models.decoding import Decoder

    networks = {f"{i}: {path.name}": load_member(path) for i, path in enumerate(options.models)}
    ids = np.random.default_rng(0).integers(
        0, min(n.shape.vocab_size for n in networks.values()), options.prompt
    ).tolist()  # fmt: skip
    prefill = {n: _prefill(Decoder(net, options.prompt), ids) for n, net in networks.items()}
    longer = options.prompt + options.new_tokens
    decode = {
        name: _decode(Decoder(network, longer), ids, options.new_tokens)
        for name, network in networks.items()
    }
    sizes = {n: sum(p.size for p in net.get_parameters()) for n, net in networks.items()}
    rows = [
        *_rows("prefill", prefill, options.prompt, sizes, options),
        *_rows("decode", decode, options.new_tokens, sizes, options),
    ]
    results = {
        "environment": environment.describe(command, seed=0),
        "prompt": options.prompt,
        "new_tokens": options.new_tokens,
        "rows": rows,
    }
    with replacing(options.output, SetupError) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(
            f"{row['what']} {row['model']}: {row['tokens_per_second']:.1f} tokens/s, "
            f"{row['speedup']['median']:.2f} times the first"
        )


def _prefill(decoder: Decoder, ids: Sequence[int]) -> Callable[[], Any]:
    return lambda: decoder.prefill(ids)


def _decode(decoder: Decoder, ids: Sequence[int], tokens: int) -> Callable[[], Any]:
    _, start = decoder.prefill(ids)

    def work() -> None:
        cache = start
        for place in range(len(ids), len(ids) + tokens):
            _, cache = decoder.next(0, place, cache)

    return work


def _rows(
    what: str,
    works: Mapping[str, Callable[[], Any]],
    tokens: int,
    sizes: Mapping[str, int],
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Time all models at one kind of work, in turns."""
    found = compare(works, options.warmup, options.runs)
    first = next(iter(works))
    return [
        {
            "what": what,
            "model": name,
            "params": sizes[name],
            "milliseconds": found.summary(name).to_dict(),
            "tokens_per_second": 1000 * tokens / found.summary(name).median_ms,
            "speedup": found.speedup(name, first).to_dict(),
        }
        for name in works
    ]


if __name__ == "__main__":
    sys.exit(main())
