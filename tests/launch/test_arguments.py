import pytest

from ms_eff.errors import ConfigError
from ms_eff.launch.arguments import parse, usage

C = ["--config", "c.yaml"]


def test_defaults_are_one_worker_that_resumes():
    options = parse(C)
    assert (options.workers, options.resume, options.dry_run) == (1, "auto", False)
    assert options.overrides == ()


def test_everything_behind_two_dashes_is_settings():
    options = parse([*C, "--nproc", "4", "--", "train.epochs=3", "data.root=a b/c"])
    assert options.overrides == ("train.epochs=3", "data.root=a b/c")
    assert parse([*C, "--nproc=4"]).nproc == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--config; see --help"),
        (["c.yaml", *C], "'c.yaml' stands without a flag; write --config c.yaml"),
        ([*C, "train.epochs=3"], "write -- train.epochs=..."),
        ([*C, "--nproc", "0"], "--nproc: 0: it should be 1 or more"),
        ([*C, "--nproc", "two"], "--nproc: invalid int value: 'two'"),
        ([*C, "--master-port", "80"], "--master-port: 80: it should be 1024 to 65535"),
        ([*C, "--device", "npu"], "--device: invalid choice: 'npu'"),
        ([*C, "--resume", "always"], "--resume: invalid choice: 'always'"),
        ([*C, "--dry"], "unknown flag '--dry' (did you mean '--dry-run'?)"),
        ([*C, "--nnodes", "2"], "--nnodes 2 needs --node-rank and --master-addr"),
        ([*C, "--nnodes", "2", "--node-rank", "0"], "needs --master-addr on every host"),
        ([*C, "--node-rank", "1"], "--node-rank 1: 1 host(s) have the ranks 0 to 0"),
        ([*C, "--", "epochs"], "'epochs' after --: expected key=value"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_flag(words, said):
    with pytest.raises(ConfigError) as error:
        parse(words)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_help_names_every_flag_and_the_exit_codes():
    text = usage()
    for name in ("--config", "--nproc", "--nnodes", "--rank-table", "--resume", "--grace", "143"):
        assert name in text
