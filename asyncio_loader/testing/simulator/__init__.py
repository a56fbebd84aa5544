"""A local S3 data plane with the latency and the faults of a real one, in a process of its own.

What it serves is exact (status, headers, bytes, listing), what it simulates is time and trouble, and both are a
function of a seed: a run can be played again. Signatures are not checked; `RcloneServer` is there for that.
"""

from __future__ import annotations

from asyncio_loader.testing.simulator.faults import Fault
from asyncio_loader.testing.simulator.log import RequestRecord, SimulatorFigures
from asyncio_loader.testing.simulator.process import S3Simulator
from asyncio_loader.testing.simulator.throttle import Throttle

__all__ = ["Fault", "RequestRecord", "S3Simulator", "SimulatorFigures", "Throttle"]
