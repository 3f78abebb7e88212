"""What is compared with what: each family's file, its columns, and which rows are ours."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Literal

from ms_eff.bench.accuracy_sizes import KIND as LOWRANK
from ms_eff.bench.progressive import KIND as PROGRESSIVE
from ms_eff.bench.small_data import KIND as SMALL_DATA
from ms_eff.bench.swiftlearn_sizes import KIND as SWIFTLEARN
from ms_eff.bench.video_sizes import KIND as VIDEO
from ms_eff.bench.vit_accuracy_sizes import KIND as VIT
from ms_eff.report import lowrank_accuracy, vit_accuracy
from ms_eff.report.family import Contender, Family, Measure, criteria_reader, rows_reader

__all__ = ["FAMILIES"]

_ONE_RATIO, _BUDGET = "one ratio for all layers", "one budget over all layers"
_ALLOCATIONS = {"uniform": _ONE_RATIO, "global": _BUDGET}
_BY_LOSS = {
    "global_raw": "that error",
    "global_relative": "that error over the output's energy",
    "global_gradient": "that error times the mean squared gradient at the output",
}


def _allocated(kinds: Mapping[str, tuple[Literal["ours", "rival"], str]]) -> dict[str, Contender]:
    """Return a contender for each kind of factors and way to share out what is kept."""
    return {
        f"{kind}, {allocation}": Contender(side, f"{what}; {how}")
        for (kind, (side, what)), (allocation, how) in product(kinds.items(), _ALLOCATIONS.items())
    }


_ACCURACY = Measure("accuracy", "test accuracy, %", 100)
_TEST = Measure("test_accuracy", "test accuracy, %", 100)
_PARAMS = Measure("params", "parameters, thousands", 1e-3, 1)
_MACS = Measure("macs", "MACs, millions", 1e-6, 1)
_POLICIES = {
    "full": Contender("reference", "all samples in every epoch"),
    "swiftlearn topk": Contender("ours", "the samples whose logits moved most"),
    "swiftlearn sample": Contender("ours", "samples drawn by how far their logits moved"),
    "random fixed": Contender("rival", "one random subset"),
    "random fresh": Contender("rival", "a random subset for each epoch"),
    "infobatch": Contender("rival", "InfoBatch (arXiv:2303.04947)"),
}


def _data(task: str, title: str, where: str) -> Family:
    return Family(
        title,
        "Training on a share of the data, for as many epochs. Seconds are those of training and "
        "choosing, compiling included.",
        f"swiftlearn_{task}.json",
        f"make bench-swiftlearn-{task} {where}",
        rows_reader(SWIFTLEARN),
        ("policy",),
        _POLICIES,
        _TEST,
        Measure("seconds", "seconds of training", digits=0),
        (Measure("samples_trained", "samples trained on", digits=0),),
        along=Measure("keep", "share kept"),
    )


FAMILIES = (
    Family(
        "Low rank, before any training",
        "A trained network in factors, within the same parameters: accuracy, or agreement with the "
        "dense network where its own data are not at hand.",
        "lowrank_criteria.json",
        "make bench-criteria DATA=PATH",
        criteria_reader,
        ("criterion", "allocation"),
        {
            "dense": Contender("reference", "the network itself"),
            "svd, uniform": Contender("rival", f"plain SVD of whole kernels; {_ONE_RATIO}"),
            **_allocated({
                "tensorly": ("rival", "tensorly's Tucker, SVD of matrices"),
                "weight": ("ours", "our Tucker-2, SVD of matrices"),
                "activation": ("ours", "least error of the layers' outputs"),
                "two_sided": ("ours", "least error of the loss"),
            }),
        },
        Measure("score", "accuracy or agreement, %", 100),
        Measure("params", "parameters kept, %", 100, 1),
        panels=("network",),
        along=Measure("ratio", "times fewer", digits=1),
    ),
    Family(
        "Low rank, after fine-tuning",
        "A third to a bit over half of the parameters, as the column says, fine-tuned for as many "
        "epochs as the dense network is trained on.",
        "lowrank_accuracy_cifar10.json",
        "make bench-lowrank-accuracy DATA=PATH",
        rows_reader(LOWRANK, lowrank_accuracy.timed),
        ("variant",),
        {
            "continued": Contender("reference", "the dense network, trained on for as long"),
            "vanilla": Contender("rival", f"SVD and Tucker-2 of the weights; {_ONE_RATIO}"),
            "optimised ranks": Contender("ours", "ranks by measured time"),
            "static freezing": Contender("ours", "one set of factors rests"),
            "sequential freezing": Contender("ours", "the sets rest in turn"),
            "merging": Contender("ours", "factors put into their neighbours"),
            "branching": Contender("ours", "cores in two groups"),
        },
        _ACCURACY,
        Measure("seconds", "seconds of fine-tuning", digits=0),
        (_PARAMS, _MACS),
        ("model",),
    ),
    Family(
        "Tokens of a vision transformer",
        "Trained from scratch for as many epochs; every row but the first trains with about the "
        "same work.",
        "vit_accuracy_cifar10.json",
        "make bench-vit-accuracy DATA=PATH",
        rows_reader(VIT, vit_accuracy.timed),
        ("variant",),
        {
            "dense (MHA)": Contender("reference", "all tokens in all blocks"),
            "SkipViT": Contender("ours", "unimportant patches skip blocks (arXiv:2401.15293)"),
            "random (random-LTD)": Contender("rival", "random patches skip (arXiv:2211.11586)"),
            "plain dropping": Contender("rival", "unimportant patches never come back"),
            "ToMe": Contender("rival", "alike tokens merge in every block (arXiv:2210.09461)"),
        },
        _ACCURACY,
        Measure("epoch_seconds", "seconds an epoch"),
        (_MACS,),
    ),
    _data("sst2", "Data: sentences", "SST2=PATH MINILM=PATH"),
    _data("cifar10", "Data: photographs", "DATA=PATH"),
    Family(
        "Small data",
        "ResNet-9 on 5,000 images, each recipe for the same time: the cheaper its step, the more "
        "epochs it gets.",
        "small_data_cifar10.json",
        "make bench-small-data DATA=PATH",
        rows_reader(SMALL_DATA),
        ("recipe",),
        {
            "baseline": Contender("reference", "plain SGD"),
            "sam": Contender("ours", "SAM"),
            "sam_ip": Contender("ours", "SAM, whitening, smoothing, decay, CELU"),
            "sam_gc": Contender("ours", "SAM, gradient centralization"),
            "meta": Contender("ours", "meta-learning"),
            "best": Contender("ours", "what helped most, with ideas of airbench and resizing"),
            "airbench": Contender(
                "rival", "airbench's recipe and rates (arXiv:2404.00498) on our network"
            ),
        },
        _ACCURACY,
        Measure("epochs", "epochs in that time", digits=1),
        (Measure("seconds", "seconds", digits=0),),
    ),
    Family(
        "Video",
        "One network with another stand-in for 3D convolutions, trained from scratch for as many "
        "epochs on pictures in motion.",
        "video_accuracy.json",
        "make bench-video DATA=PATH",
        rows_reader(VIDEO),
        ("variant",),
        {
            "conv3d": Contender("reference", "3D convolutions"),
            "add": Contender("ours", "space and time added (arXiv:2407.16514)"),
            "cat": Contender("ours", "space and time joined (arXiv:2407.16514)"),
            "add, aligned": Contender("ours", "added, with pixels aligned"),
            "cat, aligned": Contender("ours", "joined, with pixels aligned"),
            "r2plus1d": Contender("rival", "R(2+1)D"),
            **{f"p3d_{x}": Contender("rival", f"P3D-{x.upper()}") for x in "abc"},
            "rank1": Contender("rival", "kernels of rank 1"),
            "tsm": Contender("rival", "channels shifted in time (arXiv:1811.08383)"),
            "spatial": Contender("reference", "each frame for itself: must not solve the task"),
        },
        _ACCURACY,
        _MACS,
        (_PARAMS,),
        ("task",),
    ),
    Family(
        "Language models made smaller without training",
        "Perplexity of text that nothing was fitted to: lower is better.",
        "progressive.json",
        "make bench-progressive PARENT=FILE WIKITEXT=PATH",
        rows_reader(PROGRESSIVE),
        ("rule", "allocation"),
        {
            "dense": Contender("reference", "the parent"),
            **_allocated({
                "plain": ("rival", "SVD of the weights"),
                "asvd": ("rival", "ASVD-like scaling (arXiv:2312.05821), root mean squares"),
                "activation_aware": ("rival", "whitened: least error of the layers' outputs"),
                "two_sided": ("ours", "least error of the loss"),
            }),
            **{
                f"activation_aware, {name}": Contender("rival", f"the same; {_BUDGET} by {loss}")
                for name, loss in _BY_LOSS.items()
            },
            "activation_aware_in_order, uniform": Contender(
                "rival", "whitened, each block fed by those truncated before it"
            ),
            "two_sided_twice, global": Contender(
                "ours", f"the same, measured once more on what it made; {_BUDGET}"
            ),
        },
        Measure("perplexity", "perplexity"),
        Measure("block_params", "weights of the blocks, millions", 1e-6, 1),
        along=Measure("removed", "share removed"),
        logarithmic=True,
    ),
)  # fmt: skip
