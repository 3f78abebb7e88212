"""One row of the ViT tables, measured in this process: the plain network and the changed one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mindspore import nn

from ms_eff import models, runtime
from ms_eff.bench.counts import count, totals
from ms_eff.bench.latency import Kind, compare_models
from ms_eff.bench.rivals.tome_cells import merge_tokens
from ms_eff.bench.steps import plain_step
from ms_eff.bench.timers import against
from ms_eff.methods.gqkva.settings import GQKVASettings
from ms_eff.methods.gqkva.surgery import convert_attention
from ms_eff.methods.skipvit.settings import SkipViTSettings
from ms_eff.methods.skipvit.surgery import apply_skipvit
from ms_eff.train.settings import TrainSettings

if TYPE_CHECKING:
    from ms_eff.bench.vit_variants import Case, Size

__all__ = ["measure"]

_WARMUP = 3
_KINDS: dict[str, Kind] = {"training": "train_step", "inference": "forward"}


def measure(case: Case, size: Size, runs: int) -> dict[str, Any]:
    """Build and time one row; weights are random, since shapes alone decide the speed.

    Args:
        case: what to do to the network.
        size: the network and the batch.
        runs: timed rounds.

    Returns:
        JSON: `params` and `macs` of both, `qkv_width`, and for `training` (AdamW, as the papers
        train) and `inference` what `ms_eff.bench.timers.against` says, with `share_of_gain`: of
        the gain that the MACs promise, how much is there; None where they promise none.
    """
    runtime.setup(runtime.DeviceSettings(isa="native"))
    dense = models.build(size.model, **size.args)
    networks = {"dense": dense, "changed": _changed(dense, case)}
    height, width = dense.image_size
    shape = (size.batch, dense.patch_embed.proj.channels, height, width)
    counts = {name: totals(count(network, shape)) for name, network in networks.items()}
    bound = counts["dense"]["macs"] / counts["changed"]["macs"]
    row: dict[str, Any] = {
        "params": {name: found["params"] for name, found in counts.items()},
        "macs": {name: found["macs"] for name, found in counts.items()},
        "qkv_width": networks["changed"].blocks[0].attn.qkv.out_channels,
    }
    settings = TrainSettings(optimizer="adamw")
    for name, kind in _KINDS.items():
        found = compare_models(
            networks,
            shape,
            kind,
            _WARMUP,
            runs,
            make_step=lambda network: plain_step(network, settings, _WARMUP + runs).set_train(True),
        )
        row[name] = against(found, bound)
        gain = row[name]["speedup"]["median"] - 1
        row[name]["share_of_gain"] = gain / (bound - 1) if bound > 1 else None
    return row


def _changed(dense: nn.Cell, case: Case) -> nn.Cell:
    if case.method == "gqkva":
        wishes = GQKVASettings(**case.settings)
        return convert_attention(dense, wishes.kind, wishes.groups, fresh_seed=0)[0]
    if case.method == "tome":
        return merge_tokens(dense, case.settings["merged"])
    return apply_skipvit(dense, SkipViTSettings(**case.settings))[0]
