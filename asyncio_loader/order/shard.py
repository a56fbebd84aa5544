"""Who is asking: a rank of a distributed job, and a worker process of that rank."""

from __future__ import annotations

from dataclasses import dataclass

from asyncio_loader.errors import ConfigError

__all__ = ["Shard"]


@dataclass(frozen=True, slots=True)
class Shard:
    """One of the parts into which an epoch is dealt.

    Attributes:
        rank: 0 ≤ rank < number of ranks; the plan knows how many there are.
        worker: 0 ≤ worker < workers; 0 where the rank has no worker processes.
        workers: number of worker processes of the rank, at least 1.
    """

    rank: int = 0
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if self.rank < 0 or not 0 <= self.worker < self.workers:
            raise ConfigError(f"no such shard: rank {self.rank}, worker {self.worker} of {self.workers}")
