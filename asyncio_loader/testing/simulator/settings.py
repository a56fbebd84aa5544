"""What the process that wants a simulator tells the one that is it: at the start, and while it runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.simulator.checksums import Checksum
from asyncio_loader.testing.simulator.faults import Fault
from asyncio_loader.testing.simulator.latency import Latency
from asyncio_loader.testing.simulator.throttle import Throttle

__all__ = ["ServerSettings", "load_changes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What the parent process asks for.

    Attributes:
        bucket: its name.
        latency: see there.
        faults: see `Fault`.
        throttles: see `Throttle`.
        bandwidth_bytes_s: bytes of bodies per second of all connections. None: no limit.
        checksum: what S3 keeps beside each object. None: nothing.
        clock_offset_s: how far the server's clock is ahead. None: not at all, and it does not look at the clients'.
        seed: of latency and faults.
        host: address to listen on.
        port: 0 for any that is free.
    """

    bucket: str
    latency: Latency = field(default_factory=Latency)
    faults: tuple[Fault, ...] = ()
    throttles: tuple[Throttle, ...] = ()
    bandwidth_bytes_s: float | None = None
    checksum: Checksum | None = None
    clock_offset_s: float | None = None
    seed: int = 0
    host: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        if self.bandwidth_bytes_s is not None and not self.bandwidth_bytes_s > 0:
            raise ConfigError(f"S3Simulator: bandwidth_bytes_s must be None or above 0, not {self.bandwidth_bytes_s!r}")

    def dump(self) -> str:
        """As text for `load`."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> ServerSettings:
        """What `dump` gave."""
        return cls(**load_changes(text))

    def dump_changes(self, *names: str) -> str:
        """These fields alone, as text for `load_changes`."""
        fields = asdict(self)
        return json.dumps({name: fields[name] for name in names})


def load_changes(text: str) -> dict[str, Any]:
    """What `dump_changes` gave, for `dataclasses.replace`."""
    fields: dict[str, Any] = json.loads(text)
    if "latency" in fields:
        fields["latency"] = Latency(**fields["latency"])
    if "faults" in fields:
        fields["faults"] = tuple(Fault(**fault) for fault in fields["faults"])
    if "throttles" in fields:
        fields["throttles"] = tuple(Throttle(**throttle) for throttle in fields["throttles"])
    return fields
