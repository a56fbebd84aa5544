"""One log for a run: ours and mmengine's, to the console and to the work directory."""

from __future__ import annotations

import contextlib
import copy
import logging
import logging.handlers
import sys
from collections.abc import Iterator

__all__ = ["LogRelay", "quiet_rank", "relay_log"]

# Nothing of a run's preparation is that talkative.
_WAITING_RECORDS = 1000


class LogRelay(logging.handlers.MemoryHandler):
    """Keeps the records of the preparation until the run's own logger exists, then passes all on.

    All ranks of a run prepare the same: rank 0 speaks for them, and the others' records begin with the logger.
    """

    def __init__(self, rank: int = 0) -> None:
        super().__init__(_WAITING_RECORDS, flushLevel=logging.CRITICAL + 1)
        self._rank = rank
        self._is_attached = False

    def attach(self, logger: logging.Logger) -> None:
        """Pass on what was kept, and from now on everything at once."""
        # A logger is all the target that `flush` needs: it calls `handle`.
        self.setTarget(logger)  # type: ignore[arg-type]
        self.capacity = 1
        self._is_attached = True
        self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep or pass on; a warning before there is a log is shown at once, too: somebody may be waiting."""
        if not self._is_attached and self._rank:
            return
        if not self._is_attached and record.levelno >= logging.WARNING:
            print(f"{record.levelname.lower()}: {record.getMessage()}", file=sys.stderr, flush=True)
        # mmengine's handlers drop a warning whose `msg` they have seen, whatever its arguments are.
        whole = copy.copy(record)
        whole.msg, whole.args = record.getMessage(), None
        super().emit(whole)


def quiet_rank(logger: logging.Logger, rank: int) -> None:
    """Of a run's logger: all that it says from now on is warnings and errors, each with the rank."""
    for handler in logger.handlers:
        handler.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter(f"rank {rank}: %(levelname)s: %(message)s"))


@contextlib.contextmanager
def relay_log(level: int, rank: int = 0) -> Iterator[LogRelay]:
    """Relay the package's log from `level` up for as long as the run lasts; afterwards the logger is as it was.

    `rank`: see `LogRelay`.
    """
    package = logging.getLogger("asyncio_loader")
    before = package.level, package.propagate
    relay = LogRelay(rank)
    package.addHandler(relay)
    package.setLevel(level)
    package.propagate = False
    try:
        yield relay
    finally:
        package.level, package.propagate = before
        package.removeHandler(relay)
        relay.close()
