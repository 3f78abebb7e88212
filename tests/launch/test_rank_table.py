import copy
import json

import pytest

from ms_eff.errors import ConfigError
from ms_eff.launch.rank_table import check_rank_table


def table(hosts=2, per_host=2):
    return {
        "version": "1.0",
        "server_count": str(hosts),
        "server_list": [
            {
                "server_id": f"10.0.0.{h + 1}",
                "device": [
                    {
                        "device_id": str(d),
                        "device_ip": f"192.168.{h}.{d + 1}",
                        "rank_id": str(h * per_host + d),
                    }
                    for d in range(per_host)
                ],
                "host_nic_ip": "reserve",
            }
            for h in range(hosts)
        ],
        "status": "completed",
    }


def test_a_whole_table_passes(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table()))
    check_rank_table(path, 2, 2)


def device(content, place=1):
    return content["server_list"][0]["device"][place]


def devices(content):
    return content["server_list"][0]["device"]


def interleave(content):
    """Give each host every other rank, on the devices that these ranks would have."""
    ours, theirs = content["server_list"][0]["device"], content["server_list"][1]["device"]
    ours[1], theirs[1] = theirs[1], ours[1]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t.pop("server_list"), "'server_list' is missing"),
        (lambda t: t["server_list"].pop(), "server_list has 1 hosts, --nnodes says 2"),
        (lambda t: t.update(server_count="3"), "server_count = '3', but server_list has 2"),
        (lambda t: t["server_list"][1]["device"].pop(), r"server_list[1] has 1 devices, --nproc"),
        (lambda t: device(t).update(rank_id="0"), "rank_id 0 stands twice"),
        (lambda t: [d.update(rank_id=str(4 + i)) for i, d in enumerate(devices(t))], "rank_id 0"),
        (lambda t: device(t).update(rank_id=None), "device[1]: rank_id = None"),
        (lambda t: device(t).update(device_id="0"), "device_id 0 stands twice"),
        (lambda t: device(t).update(device_id="5"), "the worker of rank 1 gets device 1"),
        (interleave, "server_list[0]: its ranks do not follow each other"),
        (lambda t: device(t).update(device_ip="300.1.1.1"), "device_ip = '300.1.1.1' is no"),
        (lambda t: t["server_list"][0].update(device=[1, 2]), "device[0]: a mapping is expected"),
    ],
)
def test_a_mistake_is_named_by_its_place(tmp_path, spoil, said):
    content = copy.deepcopy(table())
    spoil(content)
    path = tmp_path / "table.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError) as error:
        check_rank_table(path, 2, 2)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_what_is_no_json_is_said(tmp_path):
    path = tmp_path / "table.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        check_rank_table(path, 1, 1)
    path.write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        check_rank_table(path, 1, 1)
