"""Every method through the same duties, from the one table of `method_settings`.

Quick, for each alone and for pairs: the network that it makes comes back from weights + plan and
depends on the seed alone; all pairs are taken or refused with both names. Slow: it trains, is taken
up from a checkpoint bit for bit, computes the same without graphs, and is exported with parity.
"""

import io
import itertools
import json
import shutil

import mindspore as ms
import numpy as np
import pytest
from rich.console import Console

import ms_eff
from ms_eff.errors import ConfigError
from ms_eff.experiment import Experiment
from ms_eff.inputs import model_args
from ms_eff.measure import export_run
from ms_eff.methods.base import Method
from ms_eff.methods.registry import METHODS, check_conflicts, method_class, settings_class
from ms_eff.section import Section
from ms_eff.train import checkpoint
from tests.method_settings import ALONE, PAIRS, REFUSED, config_of
from tests.tolerances import FP32
from tests.train.test_trainer import assert_same

# a checkpoint within the second epoch, also where that has only three steps, on half of the data
STEPS_AN_EPOCH, WITHIN = 6, 8
EACH = [pytest.param(case, id=name) for name, case in ALONE.items()]
EVERY = EACH + [pytest.param(case, id=case.name) for case in PAIRS]
INFOBATCH = next(case for case in PAIRS if case.name == "skipvit+swiftlearn")
# what changes no model exports the plain network
EXPORTED = [param for param in EVERY if param.values[0].has_plan]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Return the checkpoint of a network that teaches: deeper, of other weights."""
    args = {"image_size": 8, "patch_size": 4, "in_channels": 3, "num_classes": 3}
    args |= {"dim": 12, "depth": 3, "heads": 6}
    cell = ms_eff.build_model("vit", **args, seed=5)
    described = {"model": {"name": "vit", "args": args}, "plans": []}
    path = tmp_path_factory.mktemp("teacher") / "dense"
    return checkpoint.save(path, values(cell), described)


@pytest.fixture(scope="module")
def run(teacher, tmp_path_factory):
    """Return a function that trains a case, once for all duties: its experiment."""
    done = {}

    def trained(case):
        if case.name not in done:
            done[case.name] = start(case, tmp_path_factory.mktemp(case.name), teacher)
            done[case.name].train()
        return done[case.name]

    return trained


@pytest.fixture
def python_alone():
    """No graphs while the test lasts."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)


def start(case, output, teacher, **changes):
    output.mkdir(exist_ok=True)
    config = config_of(case, output, teacher, **changes)
    return Experiment(config, "test", Console(file=io.StringIO(), width=200))


def values(cell):
    return {p.name: p.asnumpy() for p in cell.get_parameters()}


def changed(experiment):
    """Return a new network after all methods, and the plans that made it."""
    network, plans = experiment.new_model(), []
    for method in experiment.methods:
        network = method.change_model(network, experiment._context(trained=False))
        if method.plan is not None:
            plans.append({"method": method.name, "plan": method.plan})
    return network, plans


def test_the_table_has_every_method_and_only_those():
    assert ALONE.keys() == METHODS.keys()
    assert {name for case in (*PAIRS, *REFUSED) for name in case.methods} == set(METHODS)


@pytest.mark.gate
@pytest.mark.parametrize("case", EVERY)
def test_its_network_comes_back_from_weights_and_plan(case, teacher, tmp_path, python_alone):
    experiment = start(case, tmp_path / "run", teacher, device={"mode": "pynative"})
    config, (network, plans) = experiment.config, changed(experiment)
    described = {
        "model": {"name": config.model.name, "args": model_args(config, experiment.data)},
        "plans": plans,
    }
    path = checkpoint.save(tmp_path / "saved", values(network), described)
    again = ms_eff.load(path)
    assert_same(values(network), values(again))
    assert bool(plans) is case.has_plan
    if case.has_plan:
        inputs = ms.Tensor(experiment.data.test.batch(np.arange(2))[0])
        outputs = [net.set_train(False)(inputs).asnumpy() for net in (network, again)]
        np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("case", EACH)
def test_its_network_is_a_function_of_the_seed(case, teacher, tmp_path):
    found = [
        values(changed(start(case, tmp_path / str(at), teacher, seed=seed))[0])
        for at, seed in enumerate((0, 0, 1))
    ]
    assert_same(found[0], found[1])
    assert any((found[0][name] != found[2][name]).any() for name in found[0])


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in REFUSED])
def test_what_cannot_be_combined_is_refused_with_both_names_in_either_order(
    case, teacher, tmp_path
):
    with pytest.raises(ConfigError) as error:
        start(case, tmp_path, teacher)
    for name in case.methods:
        assert f"'{name}'" in str(error.value)
    with pytest.raises(ConfigError, match="cannot be combined"):
        check_conflicts(methods_of(case)[::-1])


def test_all_other_pairs_are_taken():
    refused = {frozenset(case.methods) for case in REFUSED}
    for one, two in itertools.combinations(ALONE, 2):
        if frozenset((one, two)) not in refused:
            check_conflicts(methods_of(ALONE[one]) + methods_of(ALONE[two]))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ALONE["progressive_resizing"], ALONE["distillation"]),
        (ALONE["progressive_resizing"], INFOBATCH),
    ],
)
def test_a_wrong_order_is_refused_at_start_with_both_names(first, second):
    with pytest.raises(ConfigError) as error:
        check_conflicts(methods_of(first) + methods_of(second))
    for name in (*first.methods, list(second.methods)[-1]):
        assert f"'{name}'" in str(error.value)
    check_conflicts(methods_of(second) + methods_of(first))


def methods_of(case):
    return [method_class(name)(settings_class(name)(**s)) for name, s in case.methods.items()]


def saved(experiment):
    return checkpoint.read(experiment.folder / "models" / "trained")


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY)
def test_it_trains_and_what_is_saved_scores_as_the_live_network(run, case):
    experiment = run(case)
    stage = json.loads((experiment.folder / "results.json").read_text())["stages"]["trained"]
    losses = [row["train_loss"] for row in stage["curve"]]
    assert np.isfinite(losses).all()
    assert 0 < stage["curve"][-1]["step"] <= STEPS_AN_EPOCH * case.epochs
    planned = [entry["method"] for entry in saved(experiment).state["plans"]]
    assert planned == [m.name for m in experiment.methods if m.plan is not None]
    (score,) = experiment.evaluate(experiment.folder / "models" / "trained").values()
    assert score.measures() == {key: stage[key] for key in ("loss", "accuracy")}


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY)
def test_taken_up_from_an_earlier_checkpoint_it_ends_with_the_same_weights(
    run, case, teacher, tmp_path
):
    """The folder is what a run that was killed within its second epoch leaves behind."""
    whole = run(case)
    output = tmp_path / "run"
    shutil.copytree(whole.folder, output)
    shutil.rmtree(output / "models" / "trained")
    earlier = output / "train" / "checkpoints" / f"step-{WITHIN:08d}"
    assert earlier.exists()
    for path in earlier.parent.iterdir():
        if path.name > earlier.name:
            shutil.rmtree(path)
    again = start(case, output, teacher, seed=0)
    again.train()
    assert f"resuming from {earlier}" in again.console.file.getvalue()
    assert_same(saved(whole).weights, saved(again).weights)
    assert saved(whole).state == saved(again).state


class Kill(Method):
    """Ends the process, as it were, after a step."""

    name = "kill"
    watches_steps = True

    def on_step_end(self, event):
        if event.step == WITHIN + 1:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("case", EACH)
def test_graphs_compute_what_python_does(run, case, teacher, tmp_path, python_alone):
    plain = start(case, tmp_path / "run", teacher, device={"mode": "pynative"})
    plain.methods.append(Kill(Section()))
    with pytest.raises(KeyboardInterrupt):
        plain.train()
    ms.set_context(mode=ms.GRAPH_MODE)
    # by WITHIN, every method has begun to act; through the ReLUs of the clips' network rounding
    # grows until then (7e-7 after two steps, 5e-2 after eight), and its method acts at once
    step = 2 if case.network == "clips" else WITHIN
    within = f"train/checkpoints/step-{step:08d}"
    found = checkpoint.read(plain.folder / within).weights
    for name, array in checkpoint.read(run(case).folder / within).weights.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=FP32, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("case", EXPORTED)
def test_it_is_exported_with_parity(run, case):
    experiment = run(case)
    lines = list(export_run(experiment, None))
    assert len(lines) == len(experiment.config.export.formats)
    assert all("verified" in line for line in lines)  # against the live network, by tolerance
