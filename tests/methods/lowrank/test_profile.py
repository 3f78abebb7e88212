from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ms_eff.errors import PlanError
from ms_eff.methods.lowrank.cost_model import LayerWork
from ms_eff.methods.lowrank.profile import (
    Conditions,
    Curve,
    LatencyProfile,
    NetworkWork,
    merged,
    read_profiles,
    select,
    write_profiles,
)
from ms_eff.methods.lowrank.rank_search import Timing

WORK = LayerWork("conv", (32, 16, 3, 3), (4, 16, 8, 8), (4, 32, 4, 4), "stride (2, 2)")

NETWORK = NetworkWork(3, 4640, (4, 16, 8, 8))


def profile(
    device: str = "board",
    batch: int = 4,
    version: str = "2.9.0",
    dtype: str = "float32",
    timer: str = "wall",
) -> LatencyProfile:
    curve = Curve(Timing(5.0, 0.1, 20), {8: Timing(2.0, 0.1, 20), 7: Timing(1.0, 0.0, 20)})
    conditions = Conditions(device, version, dtype, batch, timer)
    whole = {("infer", NETWORK): Timing(40.0, 1.0, 20)}
    return LatencyProfile(conditions, {("infer", WORK): curve}, {"date": "today"}, whole)


def test_it_goes_to_json_and_back(tmp_path):
    write_profiles(tmp_path / "p.json", [profile(), profile("other")])
    assert read_profiles(tmp_path / "p.json") == [profile(), profile("other")]


def test_it_gives_what_was_measured_and_names_what_was_not():
    dense, ranks = profile().times(WORK, [8, 7], "infer")
    assert (dense.median_ms, ranks[8].median_ms, ranks[7].median_ms) == (5.0, 2.0, 1.0)
    with pytest.raises(PlanError, match=r"board, MindSpore 2.9.0.*no layer 'conv 32x16x3x3 on 4x1"):
        profile().times(WORK, [8], "train")
    with pytest.raises(PlanError, match="was not measured at rank 6"):
        profile().times(WORK, [8, 6], "infer")


def test_it_knows_whole_networks_by_their_size_and_input():
    assert profile().network(NETWORK, "infer").median_ms == 40.0
    for work, objective in ((NETWORK, "train"), (replace(NETWORK, params=4641), "infer")):
        with pytest.raises(PlanError, match=r"no time of the whole network of 3 layers.*bench ran"):
            profile().network(work, objective)


def test_layers_of_another_dtype_are_other_layers():
    with pytest.raises(PlanError, match="8x8, float16, stride"):
        profile().times(replace(WORK, dtype="float16"), [8], "infer")


def test_dtypes_and_timers_are_kept_apart():
    known = [profile(), profile(dtype="float16"), profile(timer="profiler")]
    assert len(merged(known)) == 3
    assert select(known, 4, "float16", None, "p.json") is known[1]
    with pytest.raises(PlanError, match=r"timer wall and by timer profiler.*output folder of its"):
        select(known, 4, "float32", None, "p.json")


def test_recording_again_replaces_a_layer_and_keeps_the_rest():
    other = LayerWork("dense", (3, 4), (1, 4), (1, 3))
    old, new, elsewhere = profile(), profile(), profile("other")
    old.curves["train", other] = Curve(Timing(1.0))
    new.curves["infer", WORK] = Curve(Timing(7.0))
    found = merged([new, elsewhere, old])
    assert [p.conditions.device for p in found] == ["board", "other"]
    assert found[0].curves == {
        ("infer", WORK): Curve(Timing(7.0)),
        ("train", other): Curve(Timing(1.0)),
    }
    new.networks = {}
    assert merged([new, old])[0].networks == {("infer", NETWORK): Timing(40.0, 1.0, 20)}


def test_the_device_is_chosen_or_named_as_missing():
    known = [profile("Ascend910", version="3.0"), profile("Ascend910"), profile("cpu", batch=1)]
    assert select(known, 4, "float32", None, "p.json").conditions.mindspore == "3.0"
    assert select(known, 1, "float32", "cpu", "p.json") is known[2]
    for batch, device, message in (
        (4, "Ascend310", r"no profile for Ascend310.*did you mean 'Ascend910'.*it holds: Ascend"),
        (8, None, "no profile for any device, float32, batch 8"),
    ):
        with pytest.raises(PlanError, match=message):
            select(known, batch, "float32", device, "p.json")
    with pytest.raises(PlanError, match="several devices"):
        select([profile("a"), profile("b")], 4, "float32", None, "p.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "no latency profile"),
        ('{"format": "ms_eff.latency/2", "profiles": [{}]}', "damaged latency profile"),
        ('{"format": "ms_eff.latency/1", "profiles": []}', "older format.*`ms-eff bench ranks CON"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path, text, message):
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(PlanError, match=message):
        read_profiles(path)
    with pytest.raises(PlanError, match="cannot be read"):
        read_profiles(tmp_path / "none.json")


def test_a_wrong_value_is_named(tmp_path):
    values = {"format": "ms_eff.latency/2", "profiles": [profile().to_json()]}
    del values["profiles"][0]["layers"][0]["dense"]["median_ms"]
    (tmp_path / "p.json").write_text(json.dumps(values))
    with pytest.raises(PlanError, match="median_ms"):
        read_profiles(tmp_path / "p.json")
