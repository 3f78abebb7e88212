from pathlib import Path

import pytest

from ms_eff.config import load_any, load_config
from ms_eff.errors import ConfigError
from ms_eff.methods.progressive.settings import FamilyConfig

MINIMAL = "model: {name: resnet18}\ndata: {name: digits}\n"


def write(folder: Path, text: str, name: str = "c.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(write(folder, text), overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_defaults_fill_what_is_left_out(tmp_path):
    config = load_config(write(tmp_path, MINIMAL))
    assert config.train.optimizer == "momentum"
    assert config.pretrain is None
    assert config.methods == ()


def test_overrides_reach_every_depth(tmp_path):
    overrides = ["train.epochs=3", "seed=4", "methods.lowrank.ratio=2.5", "output=runs/x"]
    config = load_config(write(tmp_path, MINIMAL), overrides)
    assert (config.train.epochs, config.seed, str(config.output)) == (3, 4, "runs/x")
    assert config.method_settings()[0][1].ratio == 2.5


def test_an_override_changes_the_method_that_is_there(tmp_path):
    text = MINIMAL + "methods:\n  - lowrank: {ratio: 2.0, divisor: 4}\n"
    config = load_config(write(tmp_path, text), ["methods.lowrank.ratio=3"])
    assert config.methods == ({"lowrank": {"ratio": 3, "divisor": 4}},)


def test_pretrain_inherits_from_train(tmp_path):
    text = MINIMAL + "train: {lr: 0.3, epochs: 5}\npretrain: {epochs: 7}\n"
    config = load_config(write(tmp_path, text))
    assert (config.pretrain.lr, config.pretrain.epochs, config.train.epochs) == (0.3, 7, 5)


def test_a_mistake_that_pretrain_inherits_is_named_where_it_was_made(tmp_path):
    text = MINIMAL + "train: {epochs: 5}\npretrain: {lr: 0.1}\n"
    said = refusal(tmp_path, text, "train.epochz=3")
    assert "unknown key 'train.epochz' (did you mean 'epochs'?)" in said
    assert "more" not in said
    assert "'pretrain.epochz'" in refusal(tmp_path, text, "pretrain.epochz=3")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("train.betas=[0.9, 1.0]", "train.betas.1 = 1.0"),
        ("train.loss_scale=-1", "loss_scale = -1"),
        ("train.nesterov=true", "nesterov is for optimizer momentum"),
        ("train.precision=O0", "loss_scale is for precision O2 and O3"),
    ],
)
def test_settings_that_would_do_harm_or_nothing_are_refused(tmp_path, override, named):
    text = MINIMAL + "train: {optimizer: adamw, precision: O2, loss_scale: 128}\n"
    assert named in refusal(tmp_path, text, override)


def test_a_method_given_twice_is_refused(tmp_path):
    text = MINIMAL + "methods: [{lowrank: {ratio: 2}}, {lowrank: {ratio: 3}}]\n"
    assert "'lowrank' stands there twice" in refusal(tmp_path, text)


def test_null_takes_a_source_of_ranks_back(tmp_path):
    text = MINIMAL + "methods: [{lowrank: {params: 0.5}}]\n"
    overrides = ["methods.lowrank.params=", "methods.lowrank.plan=p.json"]
    config = load_config(write(tmp_path, text), overrides)
    assert config.method_settings()[0][1].source == "plan"


def test_a_base_file_is_taken_up_one_level_deep(tmp_path):
    write(tmp_path, MINIMAL + "train: {lr: 0.3, epochs: 5}\n", "base.yaml")
    config = load_config(write(tmp_path, "base: base.yaml\ntrain: {epochs: 2}\n"))
    assert (config.train.lr, config.train.epochs) == (0.3, 2)
    write(tmp_path, "base: c.yaml\n", "top.yaml")
    with pytest.raises(ConfigError, match="one level only"):
        load_config(tmp_path / "top.yaml")


def test_yaml_numbers_are_numbers(tmp_path):
    assert load_config(write(tmp_path, MINIMAL), ["train.lr=1e-3"]).train.lr == 0.001
    text = MINIMAL + "train: {weight_decay: 5e-4}\n"
    assert load_config(write(tmp_path, text)).train.weight_decay == 0.0005


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("tran: {}\n", ["c.yaml", "unknown key 'tran'", "did you mean 'train'"]),
        ("train: {epoch: 3}\n", ["unknown key 'train.epoch'", "did you mean 'epochs'"]),
        ("train: {epochs: ten}\n", ["c.yaml", "train.epochs = 'ten'", "integer"]),
        ("train: {lr: -1}\n", ["train.lr = -1", "greater than 0"]),
        ("train: {optimizer: adam}\n", ["train.optimizer = 'adam'", "adamw"]),
        ("train: {epochs: 2, warmup_epochs: 3}\n", ["train", "warmup_epochs is longer"]),
        ("methods: [{lowrnk: {ratio: 2}}]\n", ["'lowrnk'", "did you mean 'lowrank'"]),
        ("methods: [{lowrank: {ratoi: 2}}]\n", ["methods.lowrank.ratoi", "did you mean 'ratio'"]),
        ("methods: [{lowrank: {ratio: 0}}]\n", ["methods.lowrank.ratio = 0", "greater than 1"]),
        ("methods: [{lowrank: {params: 1.5}}]\n", ["methods.lowrank.params = 1.5", "less than 1"]),
        ("methods: [{lowrank: {}}]\n", ["methods.lowrank", "exactly one"]),
        ("methods: [{lowrank: 3}]\n", ["methods", "c.yaml"]),
        ("methods: [{lowrank: {ratio: 2}, other: {}}]\n", ["one method a list item"]),
        ("seed: 1\nseed: 2\n", ["'seed' stands twice"]),
        ("train: {lr: [}\n", ["not valid YAML"]),
        ("export: {formats: [onx]}\n", ["export.formats", "'onx'", "onnx"]),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, text, parts):
    message = refusal(tmp_path, MINIMAL + text)
    for part in parts:
        assert part in message


def test_a_missing_section_is_named(tmp_path):
    assert "'model' is missing" in refusal(tmp_path, "data: {name: digits}\n")


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("train.epochs", "expected key=value"),
        ("seed.x=1", "'seed' holds a value"),
        ("train.epochz=1", "did you mean 'epochs'"),
        ("model.name=resnet19", "did you mean 'resnet"),
    ],
)
def test_bad_overrides_are_named(tmp_path, override, part):
    assert part in refusal(tmp_path, MINIMAL + "seed: 0\n", override)


def test_a_missing_file_offers_the_nearest(tmp_path):
    write(tmp_path, MINIMAL, "digits.yaml")
    with pytest.raises(ConfigError, match=r"did you mean 'digits\.yaml'"):
        load_config(tmp_path / "digit.yaml")


@pytest.mark.parametrize("text", ["3", "- a\n", "", "!!python/object/apply:os.system ['true']"])
def test_a_file_that_is_no_config_is_refused(tmp_path, text):
    assert refusal(tmp_path, text)


def test_every_shipped_config_loads():
    paths = sorted(Path("configs").glob("*/*.yaml"))
    assert paths
    for path in paths:
        needs = any(name in path.name for name in ("cifar", "imagenet"))
        extra = ["data.root=."] if needs else []
        config = load_any(path, extra)
        assert isinstance(config, FamilyConfig) or config.method_settings() or not config.methods
        assert path.read_text().startswith("# ")
