"""Rank tables: the JSON that tells HCCL which device of which host has which rank."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ms_eff.errors import ConfigError
from ms_eff.files import read_json

__all__ = ["check_rank_table"]

_REMEDY = "see `Rank tables` in ascend_scripts/README.md"


def check_rank_table(path: Path, hosts: int, per_host: int) -> None:
    """Raise ConfigError unless the file is a whole table of that many hosts and devices.

    The format is MindSpore's version 1.0: `server_list` of hosts, each with a list `device` of
    `device_id`, `device_ip` and `rank_id`, all of them text. The launcher gives the workers of a
    host ranks in a row, on devices 0, 1 and so on; the table has to say the same.

    Args:
        path: the file.
        hosts: `--nnodes`.
        per_host: `--nproc`.
    """
    table = read_json(path, ConfigError)
    servers = _entries(table, "server_list", str(path))
    if len(servers) != hosts:
        raise ConfigError(
            f"{path}: server_list has {len(servers)} hosts, --nnodes says {hosts}; {_REMEDY}"
        )
    if str(table.get("server_count", hosts)) != str(hosts):
        raise ConfigError(
            f"{path}: server_count = {table['server_count']!r}, but server_list has {hosts}"
        )
    ranks: dict[int, str] = {}
    for place, server in enumerate(servers):
        _check_server(server, f"{path}: server_list[{place}]", str(path), per_host, ranks)
    missing = set(range(hosts * per_host)) - set(ranks)
    if missing:
        raise ConfigError(
            f"{path}: rank_id {min(missing)} is missing; {hosts * per_host} devices have the "
            f"ranks 0 to {hosts * per_host - 1}"
        )


def _check_server(server: Any, where: str, path: str, per_host: int, ranks: dict[int, str]) -> None:
    """Check one host's devices, and add their ranks to those found so far."""
    devices = _entries(server, "device", where)
    if len(devices) != per_host:
        raise ConfigError(f"{where} has {len(devices)} devices, --nproc says {per_host}; {_REMEDY}")
    hosts_there = set()
    for name, rank, card in _ranks(devices, where):
        if rank in ranks:
            raise ConfigError(f"{path}: rank_id {rank} stands twice: {ranks[rank]}, {name}")
        ranks[rank] = name
        hosts_there.add(rank // per_host)
        if card != rank % per_host:
            raise ConfigError(
                f"{name}: device_id = {card}, but the worker of rank {rank} gets device "
                f"{rank % per_host} of its host; renumber the table"
            )
    if len(hosts_there) > 1:
        raise ConfigError(
            f"{where}: its ranks do not follow each other; the workers of host R have "
            f"the ranks from R x {per_host} on"
        )


def _ranks(devices: list[Any], where: str) -> Iterator[tuple[str, int, int]]:
    """Yield (name, rank, device) of each device of a host, checking what stands beside them."""
    seen: set[int] = set()
    for place, device in enumerate(devices):
        name = f"device[{place}]"
        if not isinstance(device, Mapping):
            raise ConfigError(f"{where}.{name}: a mapping is expected, found {device!r}")
        card = _number(device, "device_id", f"{where}.{name}")
        if card in seen:
            raise ConfigError(f"{where}: device_id {card} stands twice; each worker has its own")
        seen.add(card)
        address = str(device.get("device_ip"))
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise ConfigError(
                f"{where}.{name}: device_ip = {address!r} is no address; "
                "`hccn_tool -i CARD -ip -g` prints the card's"
            ) from error
        yield f"{where}.{name}", _number(device, "rank_id", f"{where}.{name}"), card


def _entries(holder: Any, key: str, where: str) -> list[Any]:
    found = holder.get(key) if isinstance(holder, Mapping) else None
    if not isinstance(found, list) or not found:
        raise ConfigError(f"{where}: '{key}' is missing, or no list; {_REMEDY}")
    return found


def _number(device: Mapping[str, Any], key: str, where: str) -> int:
    text = str(device.get(key))
    if not text.isdecimal():
        raise ConfigError(f"{where}: {key} = {device.get(key)!r}; a number from 0 is expected")
    return int(text)
