from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch.utils.data import DataLoader, IterableDataset

from asyncio_loader.datasets.session import Session, count_local_ranks
from asyncio_loader.errors import ObjectNotFound
from asyncio_loader.options import FetchOptions
from asyncio_loader.stores.memory import MemoryStore

LAUNCHERS = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_NTASKS_PER_NODE")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


def in_flight(options: FetchOptions) -> int:
    session = Session(MemoryStore({}), options)
    session.close()
    return session.options.max_in_flight


class Asking(IterableDataset[int]):
    """Yields what is in effect in the worker that it runs in."""

    def __iter__(self) -> Iterator[int]:
        yield in_flight(FetchOptions(max_in_flight=128, max_in_flight_per_node=100))


@pytest.mark.parametrize(
    ("environ", "ranks"),
    [
        ({}, 1),
        ({"LOCAL_WORLD_SIZE": "8"}, 8),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, 4),
        ({"MPI_LOCALNRANKS": " 2 "}, 2),
        ({"SLURM_NTASKS_PER_NODE": "4"}, 4),
        ({"SLURM_NTASKS_PER_NODE": "4(x2)"}, 4),
        ({"SLURM_NTASKS_PER_NODE": "2(x3),6,4(x2)"}, 6),
        ({"LOCAL_WORLD_SIZE": "2", "SLURM_NTASKS_PER_NODE": "1"}, 2),
        ({"LOCAL_WORLD_SIZE": "many", "MPI_LOCALNRANKS": "3"}, 3),
        ({"LOCAL_WORLD_SIZE": "-4"}, 1),
        ({"LOCAL_WORLD_SIZE": "0"}, 1),
        ({"LOCAL_WORLD_SIZE": ""}, 1),
    ],
)
def test_launchers_say_how_many_ranks_there_are(environ: dict[str, str], ranks: int) -> None:
    assert count_local_ranks(environ) == ranks


@pytest.mark.parametrize(
    ("ranks", "max_in_flight", "per_node", "share"),
    [
        (1, 128, 512, 128),
        (4, 128, 512, 128),
        (8, 128, 512, 64),
        (3, 128, 100, 33),
        (1, 600, 512, 512),
        (64, 128, 10, 1),
    ],
)
def test_a_rank_gets_its_share_of_the_node(
    monkeypatch: pytest.MonkeyPatch, ranks: int, max_in_flight: int, per_node: int, share: int
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))

    assert in_flight(FetchOptions(max_in_flight=max_in_flight, max_in_flight_per_node=per_node)) == share


def test_a_worker_gets_its_share_of_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "5")

    assert list(DataLoader(Asking(), batch_size=None, num_workers=2)) == [10, 10]


def test_the_rest_of_the_options_stays() -> None:
    options = FetchOptions(max_in_flight=7, window_items=3)
    session = Session(MemoryStore({}), options)
    session.close()

    assert session.options == options


def test_an_object_comes_with_the_number_of_gets() -> None:
    session = Session(MemoryStore({"memory://a": b"abc"}), FetchOptions())
    try:
        data, gets = session.fetch("memory://a")
    finally:
        session.close()

    assert (bytes(data), gets) == (b"abc", 1)


def test_a_missing_object_is_an_error_of_the_tree() -> None:
    session = Session(MemoryStore({}), FetchOptions())
    try:
        with pytest.raises(ObjectNotFound, match="memory://a"):
            session.fetch("memory://a")
    finally:
        session.close()


def test_closing_twice_is_as_good_as_once() -> None:
    session = Session(MemoryStore({}), FetchOptions())
    session.close()
    session.close()

    assert session.loop_thread.is_closed
