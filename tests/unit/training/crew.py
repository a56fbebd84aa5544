"""Processes that are the ranks of one group, for tests of what ranks do together."""

from __future__ import annotations

import multiprocessing
import os
import socket
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from asyncio_loader.training.distributed import Ranks, joined_ranks

__all__ = ["Crew", "free_port"]

# On a busy machine it takes a while until torch and mmengine are imported.
_PATIENCE_S = 120.0


class Crew:
    """Ranks that talk by gloo over loopback: started by `with`, gone at its end, whatever state they are in.

    Their warnings are errors, as those of the tests are.
    """

    def __init__(self, world: int = 2) -> None:
        context = multiprocessing.get_context("spawn")
        port = free_port()
        self._pipes = [context.Pipe() for _ in range(world)]
        self._ends = [here for here, _ in self._pipes]
        self._processes = [
            context.Process(target=_serve, args=(there, rank, world, port), daemon=True)
            for rank, (_, there) in enumerate(self._pipes)
        ]

    def __enter__(self) -> Self:
        for process, (_, there) in zip(self._processes, self._pipes, strict=True):
            process.start()
            # Else there would be no end of file when the process ends.
            there.close()
        try:
            self._answers()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What ``function(ranks, *arguments)`` returns on each rank; None of a rank that has ended.

        The function is one of a module, with nothing but what pickles. An error of it is raised here.
        """
        for end in self._ends:
            end.send((function, arguments))
        answers = self._answers()
        for rank, answer in enumerate(answers):
            if isinstance(answer, Exception):
                answer.add_note(f"on rank {rank}")
                raise answer
        return answers

    def _answers(self) -> list[Any]:
        answers = []
        for rank, end in enumerate(self._ends):
            assert end.poll(_PATIENCE_S), f"rank {rank} does not answer"
            try:
                answers.append(end.recv())
            except EOFError:
                answers.append(None)
        return answers

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        for end in self._ends:
            end.close()


def free_port() -> int:
    """One of loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _serve(end: Connection, rank: int, world: int, port: int) -> None:
    warnings.simplefilter("error")
    # The first interface is loopback's. Gloo looks for an address by the name of the machine otherwise.
    os.environ["GLOO_SOCKET_IFNAME"] = socket.if_nameindex()[0][1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    with joined_ranks() as ranks:
        end.send(rank)
        while True:
            function, arguments = end.recv()
            end.send(_outcome(ranks, function, arguments))


def _outcome(ranks: Ranks, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(ranks, *arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to see it
        return error
