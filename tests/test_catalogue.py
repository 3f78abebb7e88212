from rich.console import Console

from ms_eff.catalogue import catalogue


def test_every_kind_of_name_a_config_takes_is_listed():
    console = Console(width=300)
    with console.capture() as said:
        console.print(catalogue())
    rows = {tuple(line.split()[:2]) for line in said.get().splitlines()[1:]}
    sets = {("data", name) for name in ("digits", "cifar10", "image_folder", "synthetic")}
    assert sets | {("model", "resnet50"), ("method", "lowrank")} <= rows
