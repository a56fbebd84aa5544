"""The training script of `test_lifecycle`: ``python -m tests.processes.lifecycle_case ENDPOINT_URL``.

It imports torch once and forks itself for each line of the standard input, a case as JSON; the fork goes on as a script
would, to the end of its interpreter. Both write lines of JSON to the standard output: the fork ``{"pid": …}`` and, when
the event is due, ``{"ready": [pids of the workers]}``; the template ``{"status": …}`` at its end.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

import asyncio_loader.stores.s3.store  # noqa: F401 - or each fork would import it for itself
from asyncio_loader import AsyncIterableDataset, Fetched, FetchOptions, Loader, S3Options

OBJECTS = 20_000
BATCH = 4

# Nobody waits so long for a fork; it is the end of one that lost its test.
_LIFETIME_S = 120


@dataclass(frozen=True)
class Case:
    """One cell of the matrix. `beside`: workers, while a Loader runs in the main process."""

    kind: str
    event: str
    start: str | None = None
    workers: int = 0
    persistent: bool = False
    threads: int = 0
    stderr: str = ""

    def __str__(self) -> str:
        how = [self.start or "", f"{self.workers}w" * bool(self.workers), "persistent" * self.persistent]
        return "-".join(filter(None, [self.kind, *how, f"{self.threads}t" * bool(self.threads), self.event]))

    def dump(self) -> str:
        return json.dumps(asdict(self))


def length_of(fetched: Fetched) -> int:
    return len(fetched.data)


def key(number: int) -> str:
    return f"{number:05d}"


def say(**what: object) -> None:
    os.write(1, f"{json.dumps(what)}\n".encode())


def make_dataset(endpoint_url: str) -> AsyncIterableDataset:
    return AsyncIterableDataset(
        [f"s3://bucket/{key(number)}" for number in range(OBJECTS)],
        transform=length_of,
        batch_size=BATCH,
        options=FetchOptions(max_in_flight=8),
        storage=S3Options(endpoint_url=endpoint_url, anonymous=True),
    )


def make_loader(case: Case, endpoint_url: str) -> Any:
    dataset = make_dataset(endpoint_url)
    if case.kind == "loader":
        return Loader(dataset, BATCH, threads=case.threads)
    return DataLoader(
        dataset,
        BATCH,
        num_workers=case.workers,
        collate_fn=list,
        multiprocessing_context=case.start,
        persistent_workers=case.persistent,
    )


def worker_pids() -> list[int]:
    return [process.pid for process in multiprocessing.active_children() if process.pid is not None]


def check_nothing_is_left() -> None:
    assert worker_pids() == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("asyncio-loader")] == []


def train(loader: Any) -> None:
    """Epochs without end; whoever waits for the third step is told."""
    while True:
        for step, _ in enumerate(loader):
            if step == 2:
                say(ready=worker_pids())


def leave_early(loader: Any) -> None:
    for step, _ in enumerate(loader):
        if step == 2:
            break
    # New workers would import torch once more.
    if not isinstance(loader, DataLoader) or loader.persistent_workers or not loader.num_workers:
        next(iter(loader))
    say(ready=worker_pids())
    if isinstance(loader, Loader):
        loader.close()


def fail(loader: Any) -> None:
    for step, _ in enumerate(loader):
        if step == 2:
            say(ready=worker_pids())
            raise RuntimeError("the training step failed")


def drop(loader: Any) -> None:
    batches = iter(loader)
    assert len(list(islice(batches, 2))) == 2
    say(ready=worker_pids())


_KEPT: list[Iterator[Any]] = []


def keep(loader: Any) -> None:
    _KEPT.append(iter(loader))
    next(_KEPT[0])
    say(ready=worker_pids())


EVENTS = {"break": leave_early, "exception": fail, "gc": drop, "exit": keep}


def run(case: Case, endpoint_url: str) -> None:
    """The training script."""
    beside = Loader(make_dataset(endpoint_url), BATCH, threads=1) if case.kind == "beside" else None
    if beside is not None:
        running = iter(beside)
        next(running)
    # The only reference is the argument: it is gone with the call.
    EVENTS.get(case.event, train)(make_loader(case, endpoint_url))
    if beside is not None:
        assert next(running) == [1000] * BATCH
        beside.close()
    if case.event in ("break", "gc"):
        gc.collect()
        check_nothing_is_left()


def become(case: Case) -> None:
    """A session of its own: all processes that come of it can be told, whoever their parent is by then."""
    os.setsid()
    signal.alarm(_LIFETIME_S)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing, errors = os.open(os.devnull, os.O_RDONLY), os.open(case.stderr, os.O_WRONLY | os.O_CREAT)
    os.dup2(nothing, 0)
    os.dup2(errors, 2)
    os.close(nothing)
    os.close(errors)
    say(pid=os.getpid())


def main(endpoint_url: str) -> None:
    """Read and fork; a fork returns from here, too."""
    while line := sys.stdin.readline():
        case = Case(**json.loads(line))
        child = os.fork()
        if child == 0:
            become(case)
            run(case, endpoint_url)
            return
        _, status = os.waitpid(child, 0)
        say(status=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1])
