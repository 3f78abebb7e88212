"""Settings of Huawei's collective communication, which reads them from the environment."""

from __future__ import annotations

from pydantic import Field

from ms_eff.section import Section

__all__ = ["HcclSettings"]


class HcclSettings(Section):
    """Huawei's collective communication; Ascend only. A key left out keeps CANN's default.

    A variable that is set in the environment wins. Names, ranges and defaults: CANN 9.0's table of
    environment variables (hiascend.com, maintenref/envvar).

    Attributes:
        connect_timeout: seconds that devices wait for each other's first connection
            (HCCL_CONNECT_TIMEOUT, 120).
        exec_timeout: seconds that a collective waits for the other devices; it must outlast what
            one worker does alone, such as writing a checkpoint (HCCL_EXEC_TIMEOUT, 1836).
        buffer: MiB of the buffer between two devices (HCCL_BUFFSIZE, 200).
        base_port: first of the ports that the hosts' network cards use (HCCL_IF_BASE_PORT, 60000).
        interface: the hosts' network card, as `eth0` (HCCL_SOCKET_IFNAME).
        deterministic: sums in a fixed order, slower (HCCL_DETERMINISTIC, false).
    """

    connect_timeout: int | None = Field(None, ge=120, le=7200)
    exec_timeout: int | None = Field(None, ge=0, le=2_147_483_647)
    buffer: int | None = Field(None, ge=1)
    base_port: int | None = Field(None, ge=1024, le=65_520)
    interface: str | None = Field(None, min_length=1)
    deterministic: bool | None = None

    def environment(self) -> dict[str, str]:
        """Return the variables that say so.

        >>> HcclSettings(buffer=400, deterministic=True).environment()
        {'HCCL_BUFFSIZE': '400', 'HCCL_DETERMINISTIC': 'true'}
        """
        values = {
            "HCCL_CONNECT_TIMEOUT": self.connect_timeout,
            "HCCL_EXEC_TIMEOUT": self.exec_timeout,
            "HCCL_BUFFSIZE": self.buffer,
            "HCCL_IF_BASE_PORT": self.base_port,
            "HCCL_SOCKET_IFNAME": self.interface,
            "HCCL_DETERMINISTIC": self.deterministic,
        }
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in values.items()
            if value is not None
        }
