"""What an iteration holds open: a loop thread and the stores on it."""

from __future__ import annotations

import dataclasses
import os
import re
import weakref
from collections.abc import Mapping

from torch.utils.data import get_worker_info

from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.bridge.trace_writer import TraceWriter
from asyncio_loader.engine.fetch import fetch_object
from asyncio_loader.options import FetchOptions, S3Options
from asyncio_loader.records import Buffer
from asyncio_loader.stats import Counters
from asyncio_loader.stores.base import ObjectStore
from asyncio_loader.stores.router import StoreRouter
from asyncio_loader.trace import Recorder, TraceFile

__all__ = ["Session", "count_local_ranks"]

# Who starts ranks says how many it starts on this machine: torchrun, Open MPI, Intel MPI and MPICH, Slurm. The nearest
# to the process comes first, as torchrun may itself be a task of Slurm.
_LOCAL_RANKS = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_NTASKS_PER_NODE")

# "4", and as Slurm writes counts of several nodes: "4(x2)", "4(x2),3".
_COUNTS = re.compile(r"\d+(\(x\d+\))?(,\d+(\(x\d+\))?)*")


# Second GETs, and an object out of the order, must not queue behind all that is fetched ahead.
_SPARE_CONNECTIONS = 16


class Session:
    """A loop thread with a store on it, born in the process that iterates and used there only.

    Attributes:
        loop_thread: where the store lives.
        store: dispatches by scheme; its connections stay open until `close`.
        options: those in effect in this process: `max_in_flight_per_node` is its share of that, divided by the ranks of
            this machine and the workers of the torch DataLoader that this process is one of, and `max_in_flight`, if
            it is a number, not more.
        writer: of the trace; None: there is none.
    """

    def __init__(
        self,
        storage: S3Options | ObjectStore,
        options: FetchOptions,
        *,
        trace: TraceFile | None = None,
        counters: Counters | None = None,
    ) -> None:
        """Args: trace: where it is recorded what becomes of each object. counters: whose figures it shows."""
        self.options = _share_of(options)
        self.loop_thread = LoopThread()
        connections = self.options.most_in_flight + _SPARE_CONNECTIONS
        self.store = StoreRouter(
            storage,
            timeouts=options.retry,
            max_connections=connections,
            # What the window holds, in blocks that are up to an eighth larger: what lies free is memory, too.
            pool_bytes=options.window_bytes * 9 // 8,
            verify=options.verify,
        )
        # Here rather than in the loop thread's own finalizer: a callback on its way to the loop may hold the last
        # reference to that one, and a loop cannot wait for itself.
        self._finalizer = weakref.finalize(self, self.loop_thread.close, self.store.aclose)
        self.writer = None if trace is None else _open_writer(trace, counters or Counters())

    @property
    def recorder(self) -> Recorder | None:
        """What collects for the trace; None: there is none."""
        return None if self.writer is None else self.writer.recorder

    def fetch(self, uri: str, counters: Counters | None = None) -> tuple[Buffer, int]:
        """One object now, outside of the window: its bytes and the number of GETs. Blocks; raises FetchError."""
        return self.loop_thread.run(self.get(uri, counters or Counters()))

    def close(self) -> None:
        """Cancel what is under way, drop the connections, end the thread. Idempotent; upon collection, too."""
        self._finalizer()
        if self.writer is not None:
            self.writer.close()

    async def get(self, uri: str, counters: Counters) -> tuple[Buffer, int]:
        """`fetch`, on the loop. Cancelling it cancels the GET."""
        data, attempts = await fetch_object(self.store, uri, retry=self.options.retry, on_attempt=counters.count_get)
        counters.bytes_fetched += len(data)
        return data, attempts


def _open_writer(trace: TraceFile, counters: Counters) -> TraceWriter:
    worker = get_worker_info()
    recorder = Recorder(label=trace.label, worker=None if worker is None else worker.id)
    return TraceWriter(trace, recorder, counters)


def count_local_ranks(environ: Mapping[str, str]) -> int:
    """Ranks of the job on this machine, by what their launcher has put into the environment; 1 where none has.

    A list of counts (Slurm's, over several machines) gives the largest of them. What is no count is passed over.
    """
    for name in _LOCAL_RANKS:
        value = environ.get(name, "").strip()
        if _COUNTS.fullmatch(value):
            return max(1, *(int(count.partition("(")[0]) for count in value.split(",")))
    return 1


def _share_of(options: FetchOptions) -> FetchOptions:
    worker = get_worker_info()
    processes = count_local_ranks(os.environ) * (worker.num_workers if worker else 1)
    share = max(1, options.max_in_flight_per_node // processes)
    most = None if options.max_in_flight is None else min(options.max_in_flight, share)
    return dataclasses.replace(options, max_in_flight=most, max_in_flight_per_node=share)
