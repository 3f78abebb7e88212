from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import ms_eff
from ms_eff import models
from ms_eff.bench.modes import execution_mode
from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.spatiotemporal import (
    SpatiotemporalSettings,
    apply_spatiotemporal,
    rebuild,
)
from ms_eff.methods.spatiotemporal.core import VARIANTS
from ms_eff.models.clips import ClipMean, Unfold, fold
from ms_eff.train.step import Forward
from tests.methods.spatiotemporal.networks import (
    SIZES,
    FoldedNormed,
    Normed,
    OneBlock,
    Plain5d,
    clips,
    conv,
    lively,
    small,
)
from tests.tolerances import FP32


@pytest.fixture(scope="module")
def network() -> nn.Cell:
    return small(factored=True)


def predicted(cell: nn.Cell, inputs: np.ndarray) -> np.ndarray:
    with execution_mode(ms.PYNATIVE_MODE):  # compiled where it is exported, and in cross checks
        return cell.set_train(False)(ms.Tensor(inputs)).asnumpy()


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max() <= FP32 * max(1.0, np.abs(expected).max()))


@pytest.mark.gate
def test_add_of_a_factored_network_is_the_same_function(network):
    # norms and shortcuts included; aligned, since the paper's stride reads other pixels
    changed, _, report = apply_spatiotemporal(network, "add", aligned=True)
    assert {row.weights for row in report if row.kind == "add"} == {"kept"}
    assert close(predicted(changed, clips()), predicted(network, clips()))
    faithful, _, report = ms_eff.apply_spatiotemporal(network, "add")
    assert not close(predicted(faithful, clips()), predicted(network, clips()))
    # nothing of a kernel is right for pixels that it does not lie on
    cells = dict(faithful.cells_and_names())
    elsewhere = [row for row in report if row.kind == "add" and cells[row.layer].temporal.down > 1]
    assert len(elsewhere) == 2
    assert {row.weights for row in elsewhere} == {"least squares"}
    for row in elsewhere:
        assert not cells[row.layer].temporal.unit.conv.weight.asnumpy().any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_replaces_every_convolution_and_its_norm(variant, network):
    changed, plan, report = apply_spatiotemporal(network, variant)
    found = [c for _, c in changed.cells_and_names() if isinstance(c, nn.Conv3d | nn.BatchNorm3d)]
    assert (found == []) == (variant != "conv3d")
    assert [row.layer for row in report] == list(plan.layers)
    assert all(row.norm == row.layer.removesuffix("0") + "1" for row in report)
    kept = {row.weights == "new" for row in report if row.shape[2] == 3}
    assert kept == {variant in ("r2plus1d", "p3d_a", "p3d_b", "p3d_c", "rank1")}
    before, after = (
        sum(p.size for p in n.trainable_params() if p.name.startswith("net3d"))
        for n in (network, changed)
    )
    assert before == sum(row.params_before for row in report)
    assert after == sum(row.params_after for row in report)
    names = [p.name for p in changed.get_parameters()]
    assert len(set(names)) == len(names)
    assert names == [name for name, _ in changed.parameters_and_names()]


def test_cat_of_a_linear_factored_network_is_the_same_function():
    rng = np.random.default_rng(0)
    plain = nn.SequentialCell(
        conv(rng, 3, 4, (3, 3, 3), bias=True),
        conv(rng, 4, 5, (1, 3, 3)),
        conv(rng, 5, 6, (3, 3, 3)),
    )
    lively(plain, factored=True)
    x = clips().transpose(0, 2, 1, 3, 4)
    changed, plan, _ = apply_spatiotemporal(plain, "cat", input_shape=x.shape)
    found = predicted(changed, x)
    assert found.shape[1] == 12  # both halves of the last one
    assert close(found[:, :6] + found[:, 6:], predicted(plain, x))
    assert plan.input_shape == (1, *x.shape[1:])


def test_cat_with_norms_and_strides_is_the_same_function_where_it_is_aligned():
    rng = np.random.default_rng(0)
    plain = nn.SequentialCell(
        *(conv(rng, 3, 4, (3, 3, 3)), nn.BatchNorm3d(4)),
        *(conv(rng, 4, 6, (3, 3, 3), stride=2), nn.BatchNorm3d(6)),
        *(conv(rng, 6, 6, (1, 1, 1), stride=2), nn.BatchNorm3d(6)),
    )
    lively(plain, factored=True)
    x = clips().transpose(0, 2, 1, 3, 4)
    expected = predicted(plain, x)
    for aligned in (True, False):
        changed, _, _ = apply_spatiotemporal(plain, "cat", input_shape=x.shape, aligned=aligned)
        found = predicted(changed, x)
        assert found.shape == (2, 12, 1, 2, 2)
        # of the strided one's kernel, only what lies on the paper's own pixels can be kept
        assert close(found[:, :6] + found[:, 6:], expected) == aligned


def test_a_network_of_5d_tensors_stays_one():
    plain = lively(Plain5d(), factored=True)
    x = clips(channels=2).transpose(0, 2, 1, 3, 4)
    expected = predicted(plain, x)
    changed, _, report = apply_spatiotemporal(plain, "add", input_shape=x.shape)
    assert close(predicted(changed, x), expected)
    assert close(changed(ms.Tensor(x)).asnumpy(), expected)  # compiled
    assert [(row.kind, row.norm, row.weights) for row in report] == [
        ("add", "bn1", "kept"), ("temporal", None, "kept"), ("spatial", None, "kept")
    ]  # fmt: skip
    wider, _, _ = apply_spatiotemporal(plain, "cat", input_shape=x.shape)
    assert wider.fc.weight.shape == (5, 12)
    assert predicted(wider, x).shape == expected.shape
    assert np.array_equal(predicted(plain, x), expected)  # the given network stays as it is


@pytest.mark.gate
def test_rebuilt_network_takes_the_weights(network, tmp_path):
    for variant in ("cat", "r2plus1d"):
        changed, plan, _ = apply_spatiotemporal(network, variant, fresh_seed=3)
        again = rebuild(models.build("eco_lite_small", **SIZES), plan.to_json())
        models.save_weights(changed, tmp_path / "w.safetensors")
        models.load_weights(again, tmp_path / "w.safetensors")
        np.testing.assert_array_equal(predicted(again, clips()), predicted(changed, clips()))


@pytest.mark.gate
def test_new_weights_follow_the_seed(network):
    one, two, other = (
        apply_spatiotemporal(network, "add", fresh_seed=seed)[0] for seed in (1, 1, 2)
    )
    name = "net3d.0.0.conv1.0.spatial.conv.weight"
    weights = [n.parameters_dict()[name].asnumpy() for n in (one, two, other)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])
    assert {r.weights for r in apply_spatiotemporal(network, "add", fresh_seed=1)[2]} == {"new"}


@pytest.mark.gate
def test_gradients_reach_every_weight():
    for variant in ("add", "p3d_b"):
        changed, _, _ = apply_spatiotemporal(lively(OneBlock()), variant, fresh_seed=1)
        changed.set_train(True)
        weights = changed.trainable_params()
        gradient = ms.value_and_grad(Forward(changed, nn.CrossEntropyLoss()), None, weights, True)
        with execution_mode(ms.PYNATIVE_MODE):
            _, found = gradient(ms.Tensor(clips()), ms.Tensor([0, 2], ms.int32))
        for parameter, values in zip(weights, found, strict=True):
            assert np.abs(values.asnumpy()).max() > 0, parameter.name


def test_what_cannot_be_replaced_is_named(network):
    with pytest.raises(PlanError, match=r"Dense has no nn\.Conv3d"):
        apply_spatiotemporal(nn.Dense(2, 2))
    with pytest.raises(PlanError, match=r"has no nn\.Conv3d"):
        apply_spatiotemporal(apply_spatiotemporal(network, "add")[0])
    with pytest.raises(ConfigError, match=r"unknown 'ad' \(did you mean 'add'\?\)"):
        apply_spatiotemporal(network, "ad")
    with pytest.raises(ConfigError, match="aligned: for add and cat only; tsm reads"):
        apply_spatiotemporal(network, "tsm", aligned=True)
    with pytest.raises(ValueError, match="aligned: for add and cat only; tsm reads"):
        SpatiotemporalSettings(variant="tsm", aligned=True)
    with pytest.raises(ConfigError, match="give the shape of its input"):
        apply_spatiotemporal(Plain5d(), "cat")
    with pytest.raises(ConfigError, match="does not take"):
        apply_spatiotemporal(network, "add", input_shape=(1, 4, 5, 8, 8))
    with pytest.raises(PlanError, match=r"not the network's; different: conv1"):
        rebuild(Plain5d(), apply_spatiotemporal(network, "add")[1])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"kernel_size": 3, "stride": 2}, "pad_mode='same' with a stride"),
        ({"kernel_size": 3, "group": 2, "pad_mode": "pad", "padding": 1}, "groups or dilation"),
        ({"kernel_size": 2, "pad_mode": "pad"}, "an even kernel"),
        ({"kernel_size": 3, "pad_mode": "valid"}, "3 frames and padding 0"),
        (
            {"kernel_size": 3, "pad_mode": "pad", "padding": (1, 1, 0, 0, 1, 1)},
            "another padding",
        ),
    ],
)
def test_geometry_that_has_no_2d_form_is_named(arguments, reason):
    with pytest.raises(PlanError, match=f"layer '0': cannot be replaced: it has .*{reason}"):
        apply_spatiotemporal(nn.SequentialCell(nn.Conv3d(2, 2, **arguments)), "add")


@pytest.mark.parametrize("taken", ["crossed", "before", "behind", "twice", "shared"])
def test_norms_are_those_that_are_called_not_those_declared_next(taken):
    plain = lively(Normed(taken), factored=True)
    x = clips(channels=4).transpose(0, 2, 1, 3, 4)
    changed, plan, report = apply_spatiotemporal(plain, "add", input_shape=x.shape)
    assert [row.norm for row in report] == {
        "crossed": ["bn1", "bn2"], "before": ["bn2", None], "behind": [None, "bn2"],
        "twice": [None, "bn2"], "shared": [None, None],
    }[taken]  # fmt: skip
    assert close(predicted(changed, x), predicted(plain, x))
    again = rebuild(Normed(taken), plan)
    assert [p.name for p in again.get_parameters()] == [p.name for p in changed.get_parameters()]
    # nothing else would do where all layers get wider
    if taken != "crossed":
        with pytest.raises(PlanError, match=r"'bn\d': this BatchNorm3d does not stand behind its"):
            apply_spatiotemporal(plain, "cat", input_shape=x.shape)


def test_without_a_run_only_a_sequence_tells_what_takes_a_convolution():
    parts = conv(np.random.default_rng(0), 4, 4, (3, 3, 3)), nn.BatchNorm3d(4), nn.ReLU()
    plain = lively(nn.SequentialCell(nn.SequentialCell(*parts)), factored=True)
    x = clips(channels=4).transpose(0, 2, 1, 3, 4)
    changed, _, report = apply_spatiotemporal(plain, "add")
    assert [row.norm for row in report] == ["0.1"]
    assert close(predicted(changed, x), predicted(plain, x))
    with pytest.raises(ConfigError, match=r"input_shape: what arrives at 'bn.' shows in a run"):
        apply_spatiotemporal(Normed("crossed"), "add")
    assert apply_spatiotemporal(Normed("crossed"), "conv3d")[2][0].norm is None


def test_norms_of_folded_clips_follow_the_calls_too():
    network = lively(FoldedNormed(), factored=True)
    changed, _, report = apply_spatiotemporal(network, "add")
    assert [row.norm for row in report] == ["inner.bn1", "inner.bn2"]
    assert not any(isinstance(c, nn.BatchNorm3d) for _, c in changed.cells_and_names())
    x = clips(channels=4)
    assert close(predicted(changed, x), predicted(network, x))


def test_a_norm_that_stands_elsewhere_is_named():
    network = small()
    network.net3d[0][0].conv1 = nn.SequentialCell(
        network.net3d[0][0].conv1[0], nn.ReLU(), nn.BatchNorm3d(6)
    )
    with pytest.raises(PlanError, match=r"BatchNorm3d does not stand behind its convolution"):
        apply_spatiotemporal(network, "add")


def test_one_convolution_for_clips_of_two_lengths_is_refused():
    class Twice(nn.Cell):
        def __init__(self):
            super().__init__()
            self.input_shape = (2, 4, 4, 6, 6)
            self.unfold, self.pool = Unfold(4), ClipMean(4)
            self.conv = nn.Conv3d(4, 4, 3, pad_mode="pad", padding=1)

        def construct(self, clips):
            x = self.conv(self.unfold(fold(clips)))
            return self.pool(self.conv(x[:, :, 1:]))

    with pytest.raises(PlanError, match="'conv': clips of several lengths arrive there"):
        apply_spatiotemporal(Twice(), "add")


def test_a_map_that_the_papers_stride_does_not_divide_is_refused_with_both_remedies():
    network = models.build("eco_lite_small", width=4, frames=4, image_size=20)
    with pytest.raises(ConfigError, match="strides by 2 x 2 over a map of 5 x 5") as refused:
        apply_spatiotemporal(network, "add")
    assert "set aligned to true" in str(refused.value)
    assert "data.image_size" in str(refused.value)
    assert apply_spatiotemporal(network, "add", aligned=True)[2]
    assert apply_spatiotemporal(network, "tsm")[2]
