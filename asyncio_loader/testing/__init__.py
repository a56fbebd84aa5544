"""What tests, benchmarks and the demo stand on: servers, data and time that behave as told.

The names load on first use, since some need packages of the extras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio_loader.testing.names import ScriptedNames, scripted_names
    from asyncio_loader.testing.servers import MotoServer, RcloneServer
    from asyncio_loader.testing.simulator import Fault, RequestRecord, S3Simulator, SimulatorFigures, Throttle
    from asyncio_loader.testing.synthetic import synthetic_jpegs, write_synthetic_coco
    from asyncio_loader.testing.virtual_time import Deadlock, VirtualTimeLoop, in_virtual_time, run_in_virtual_time

__all__ = [
    "Deadlock",
    "Fault",
    "MotoServer",
    "RcloneServer",
    "RequestRecord",
    "S3Simulator",
    "ScriptedNames",
    "SimulatorFigures",
    "Throttle",
    "VirtualTimeLoop",
    "in_virtual_time",
    "run_in_virtual_time",
    "scripted_names",
    "synthetic_jpegs",
    "write_synthetic_coco",
]

_HOMES = {
    "Deadlock": "virtual_time",
    "Fault": "simulator",
    "MotoServer": "servers",
    "RcloneServer": "servers",
    "RequestRecord": "simulator",
    "S3Simulator": "simulator",
    "ScriptedNames": "names",
    "SimulatorFigures": "simulator",
    "Throttle": "simulator",
    "VirtualTimeLoop": "virtual_time",
    "in_virtual_time": "virtual_time",
    "run_in_virtual_time": "virtual_time",
    "scripted_names": "names",
    "synthetic_jpegs": "synthetic",
    "write_synthetic_coco": "synthetic",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
