from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ms_eff.bench.accuracy_sizes import SIZES, VARIANTS, Case, cases, make_config, make_size
from ms_eff.errors import ConfigError
from ms_eff.methods.lowrank.freezing import frozen_set


def config_of(variant: str, seed: int = 1) -> Any:
    case = Case("resnet50", 8, seed, variant)
    return make_config(case, SIZES["hour"], {"name": "cifar10", "root": "data"}, Path(variant))


def test_every_variant_differs_from_the_dense_run_in_methods_and_folder_only() -> None:
    own = {"methods", "output"}
    dense = config_of("dense").to_dict()
    for variant, settings in VARIANTS.items():
        config = config_of(variant)
        assert {k: v for k, v in config.to_dict().items() if k not in own} == {
            k: v for k, v in dense.items() if k not in own
        }
        assert config.methods == (() if settings is None else ({"lowrank": settings},))
        assert len(config.method_settings()) == len(config.methods)  # the method takes them


def test_sequential_freezing_gives_both_sets_the_same_epochs() -> None:
    for size in SIZES.values():
        epochs = range(size.fine_tune_epochs)
        ((_, settings),) = config_of("sequential freezing").method_settings()
        rests = [frozen_set(settings.freeze, epoch) for epoch in epochs]
        assert rests.count("outer") == rests.count("inner") == size.fine_tune_epochs / 2


def test_rows_come_seed_by_seed_with_the_dense_one_first() -> None:
    size = make_size("hour", seeds=(3, 5), models={"resnet18": 4, "resnet50": 2})
    found = list(cases(size))
    assert len(found) == 2 * 2 * len(VARIANTS)
    assert [case.seed for case in found] == [3] * 16 + [5] * 16
    assert [case.variant for case in found[8:16]] == list(VARIANTS)
    assert len({case.folder for case in found}) == len(found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fine_tune_epochs": 5}, "fine_tune_epochs = 5: .*even"),
        ({"models": {"resnet18": 0}}, "models.resnet18 = 0: .*greater than or equal to 1"),
        ({"models": {"resnet19": 8}}, "resnet19.*did you mean 'resnet"),
        ({"train_images": -1}, "train_images = -1"),
    ],
)
def test_a_wrong_size_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_size("hour", **changes)
    assert "\n" not in str(caught.value)


def test_learning_rates_follow_the_batch() -> None:
    case = Case("resnet18", 4, 0, "vanilla")
    small, large = (
        make_config(case, make_size("hour", batch_size=b), {"name": "digits"}, Path("a"))
        for b in (32, 128)
    )
    assert large.train.lr == pytest.approx(4 * small.train.lr)
    assert large.pretrain is not None
    assert small.pretrain is not None
    assert large.pretrain.lr == pytest.approx(4 * small.pretrain.lr)
