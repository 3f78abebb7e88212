"""An imported language model beside `transformers` with the same weights: logits and perplexity.

The weights are those that our reader gives, dequantised where the file is quantised; the twin is
torch's. What the reader itself does to them (GGUF's order of q and k) shows in the perplexity.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ms_eff.bench import environment
from ms_eff.errors import SetupError, UserError, VerificationError
from ms_eff.files import replacing
from ms_eff.runtime import DeviceSettings, setup

if TYPE_CHECKING:
    from ms_eff.models.gguf_file import GGUFModel
    from ms_eff.models.parents import FolderModel

__all__ = ["LIMITS", "compare", "main", "twin_of"]

# of the logits' differences, and of the perplexity's, relative
LIMITS = {"max_abs": 1e-3, "mean_abs": 1e-4, "perplexity": 1e-3}

_MODULE = "ms_eff.bench.logits_parity"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, write the results; return 1 if a limit is passed, 2 for a user's mistake."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)  # before anything is measured
        setup(DeviceSettings(isa="native"))
        found = _measured(options)
    except UserError as error:
        print(f"logits_parity: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except VerificationError as error:
        print(f"logits_parity: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    command = shlex.join(["python", "-m", _MODULE, *words])
    results = {"environment": environment.describe(command), **found, "limits": LIMITS}
    with replacing(options.output, SetupError) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    logits, perplexity = found["logits"], found["perplexity"]
    print(
        f"logits differ by {logits['max_abs']:.1e} at most, {logits['mean_abs']:.1e} in the mean "
        f"(the largest is {logits['scale']:.1f})\nperplexity {perplexity['ms_eff']:.4f}, "
        f"transformers {perplexity['transformers']:.4f}, {perplexity['relative']:.1e} apart\n"
        f"{'met' if found['met'] else 'NOT met'}"
    )
    return 0 if found["met"] else 1


def twin_of(parent: FolderModel | GGUFModel) -> Any:
    """Return the torch model of `transformers` with a parent's weights.

    Raises:
        SetupError: torch or transformers is missing.
        VerificationError: the weights are not those of the model.
    """
    try:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise SetupError(
            f"the twin is torch's, and {error.name} is missing: pip install 'ms_eff[cross-check]'"
        ) from error
    from ms_eff.models.hf_names import to_hf

    shape = parent.shape
    config = AutoConfig.for_model(**shape.to_hf())
    network = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    # older files hold the rotary frequencies as well, which both sides work out
    names = (name for name in parent.names() if not name.endswith("rotary_emb.inv_freq"))
    arrays = to_hf({name: parent.array(name) for name in names}, shape.model)
    found = network.load_state_dict(
        {name: torch.from_numpy(np.array(array, np.float32)) for name, array in arrays.items()},
        strict=False,
    )
    network.tie_weights()
    tied = {"lm_head.weight"} if network.config.tie_word_embeddings else set()
    if found.unexpected_keys or set(found.missing_keys) - tied:
        raise VerificationError(
            f"{parent.path}: transformers misses {found.missing_keys} and does not know "
            f"{found.unexpected_keys}"
        )
    return network.float().eval()


def compare(parent: FolderModel | GGUFModel, rows: np.ndarray) -> dict[str, Any]:
    """Return how far logits and perplexity of both are apart, over windows of token ids.

    Args:
        parent: the model on disk.
        rows: (n, N) windows; the last token of each is predicted only.
    """
    import torch
    from mindspore import Tensor

    from ms_eff.bench.modes import inference
    from ms_eff.models.parents import load_parent
    from ms_eff.train.perplexity import perplexity

    twin, network = twin_of(parent), load_parent(parent)
    largest = total = scale = loss = 0.0
    count = 0
    with inference(network), torch.no_grad():
        for row in rows:
            theirs = twin(torch.from_numpy(row[None, :-1]).long()).logits[0]
            ours = torch.from_numpy(network(Tensor(row[None, :-1])).asnumpy()[0])
            apart = (ours - theirs).abs()
            largest, scale = max(largest, float(apart.max())), max(scale, float(theirs.abs().max()))
            total, count = total + float(apart.double().sum()), count + apart.numel()
            chances = torch.log_softmax(theirs.double(), -1)
            loss -= float(chances.gather(1, torch.from_numpy(row[1:, None]).long()).sum())
    predictions = rows[:, 1:].size
    own = perplexity(network, rows.reshape(-1), window=rows.shape[1]).value
    reference = float(np.exp(loss / predictions))
    logits = {"max_abs": largest, "mean_abs": total / count, "scale": scale}
    relative = abs(own / reference - 1)
    return {
        "logits": logits,
        "perplexity": {"ms_eff": own, "transformers": reference, "relative": relative},
        "predictions": predictions,
        "met": all(logits[name] <= LIMITS[name] for name in ("max_abs", "mean_abs"))
        and relative <= LIMITS["perplexity"],
    }


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    from ms_eff.data.language import encode_files, windows
    from ms_eff.methods.progressive.identity import ids_digest, model_digest
    from ms_eff.models.parents import load_tokenizer, open_parent

    parent = open_parent(options.parent)
    tokenizer = load_tokenizer(options.tokenizer) if options.tokenizer else parent.tokenizer()
    ids = encode_files(tokenizer, [options.text])
    rows = windows(ids, options.window, options.tokens)
    found = compare(parent, rows)
    return {
        "parent": options.parent.name,
        "parent_digest": model_digest(parent),
        "text": options.text.name,
        "text_digest": ids_digest(rows),
        "tokens": options.tokens,
        "window": options.window,
        "twin": _versions("torch", "transformers"),
        **found,
    }


def _versions(*packages: str) -> dict[str, str]:
    from importlib import metadata

    return {package: metadata.version(package) for package in packages}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    add = parser.add_argument
    add("--parent", type=Path, required=True, help="Hugging Face folder, or a .gguf file")
    add("--tokenizer", type=Path, help="tokenizer.json, if not the parent's own")
    add("--text", type=Path, required=True, help="WikiText-2's test.txt, for instance")
    add("--tokens", type=int, default=20_480, help="of it, from its start (default 20480)")
    add("--window", type=int, default=1024, help="tokens that see each other (default 1024)")
    add("--output", type=Path, default=Path("results/logits_parity.json"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
