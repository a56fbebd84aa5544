"""Who takes part in `compare`: clients that make GETs, and loaders that make decoded images of them.

A peer is a function in a module of this folder and a line here. The module is imported in the process that measures,
and nowhere else: nothing fails because a peer is not installed, except its own line of the table.

* A client is ``(GetTask) -> Cost``. Drive a coroutine per GET with `tasks.run_tasks`, a call in a thread with
  `tasks.run_threads`; both check that every body has its size, and warm up first.
* A loader is ``(LoadTask) -> Iterator[batch]``: one shuffled epoch, from nothing to the last batch. A batch is a sized
  collection of RGB images; what it holds is let go when the next one is asked for, as a training loop does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["CLIENTS", "LIMIT", "LOADERS", "OURS", "OUR_LOADER", "RAM", "Peer", "choose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One line of a table.

    Attributes:
        name: as the table and ``--only`` have it.
        target: ``module:function`` below `bench.peers`.
        distribution: the package that it shows, for its version; None for our own.
        share: how much of the full amount of work it gets: slow ones less, since their figures don't depend on it.
    """

    name: str
    target: str
    distribution: str | None = None
    share: float = 1.0


LIMIT = "limit"
OURS = "ours"
RAM = "ram"
OUR_LOADER = "loader"

CLIENTS = (
    Peer(name=LIMIT, target="limit:get"),
    Peer(name=OURS, target="ours:get_from_store"),
    Peer(name="ours-aiohttp", target="ours:get_through_aiohttp"),
    Peer(name="ours-engine", target="ours:get_through_engine"),
    Peer(name="ours-dataset", target="ours_dataset:get_through_dataset"),
    Peer(name="pycurl", target="curl:get", distribution="pycurl"),
    Peer(name="obstore", target="rust:get", distribution="obstore"),
    Peer(name="obstore-range", target="rust:get_range", distribution="obstore"),
    Peer(name="aiohttp", target="aiohttp_client:get", distribution="aiohttp"),
    Peer(name="s3torchconnector", target="crt:get", distribution="s3torchconnector", share=0.5),
    Peer(name="aioboto3", target="boto:get_with_aioboto3", distribution="aioboto3", share=0.1),
    Peer(name="boto3", target="boto:get_with_boto3", distribution="boto3", share=0.1),
)

LOADERS = (
    Peer(name=RAM, target="limit:decode"),
    Peer(name=OUR_LOADER, target="ours_dataset:load"),
    Peer(name="dataloader", target="ours_dataset:load_with_workers"),
    Peer(name="dataio-rs", target="dataio_loader:load", distribution="dataio-rs"),
    Peer(name="spdl", target="spdl_loader:load", distribution="spdl-core"),
    Peer(name="litdata", target="litdata_loader:load", distribution="litdata", share=0.25),
    Peer(name="s3torchconnector", target="crt:load", distribution="s3torchconnector", share=0.05),
    Peer(name="boto3", target="boto:load", distribution="boto3", share=0.05),
)


def choose(peers: Sequence[Peer], only: Sequence[str]) -> list[Peer]:
    """Those whose names are in `only`; all of them where it is empty."""
    return [peer for peer in peers if not only or peer.name in only]
