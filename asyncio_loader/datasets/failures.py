"""Samples that failed: how many may, which did, and where that is written down."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from itertools import islice

from asyncio_loader.datasets.quarantine import Quarantined, append_quarantined, check_quarantine
from asyncio_loader.datasets.tally import SharedTally
from asyncio_loader.errors import ConfigError, TooManyFailures
from asyncio_loader.options import OnError
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import Failed

__all__ = ["FailureLog", "FailureRules"]

_LOG = logging.getLogger(__name__)

# Ten broken files say nothing of a data set: below a thousand samples a share is no measure.
_ALWAYS_ALLOWED = 10

# Whoever reads of failures looks at a few of them, and finds the others in the quarantine file.
_NAMED = 5

_DONE = {"skip": "left out", "replace": "replaced by others"}


@dataclass(frozen=True, slots=True)
class FailureRules:
    """How many samples may fail, and where those that did are written down. Configuration: it pickles.

    Attributes:
        max_failures: how many samples of an epoch may fail, see `allowed`. 0.01: ImageNet and COCO have broken or
            missing files by the dozen, which is 0.01 %; a hundred times as many are a fault of the storage or of the
            config, and a run that goes on trains on something else than it was told to.
        quarantine: path of the quarantine file; None: none is written. See `quarantine.append_quarantined`.
    """

    max_failures: int | float = 0.01
    quarantine: str | None = None

    def __post_init__(self) -> None:
        value = self.max_failures
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if not is_count and not (isinstance(value, float) and 0 < value < 1):
            raise ConfigError(
                f"max_failures must be a number of samples, 0 or more, or a share between 0 and 1, not {value!r}"
            )
        check_quarantine(self.quarantine)

    def allowed(self, seen: int) -> int:
        """How many of the first `seen` samples of an epoch may have failed.

        A count is one. Of a share it is that share of `seen`, so that a broken bucket is noticed after a few samples
        and not after one percent of them; but 10 always, because few samples say little.
        """
        if isinstance(self.max_failures, int):
            return self.max_failures
        return max(_ALWAYS_ALLOWED, int(self.max_failures * seen))


class FailureLog:
    """The failures of one process's part of an epoch, or with workers those of all of its DataLoader.

    For the thread that consumes the samples, alone. With workers each has one of these; what they count is summed over
    `tally`. Every rank counts for itself.
    """

    def __init__(
        self,
        rules: FailureRules = FailureRules(),
        *,
        on_error: OnError = "raise",
        epoch: int = 0,
        shard: Shard = Shard(),  # noqa: B008 - frozen
        tally: SharedTally | None = None,
    ) -> None:
        """Begin to count.

        Args:
            rules: see there.
            on_error: what is done about a failed sample, for the summary.
            epoch: of the part.
            shard: which part.
            tally: common to the workers; None: there are none, or each counts for itself.
        """
        self._rules = rules
        self._on_error = on_error
        self._epoch = epoch
        self._shard = shard
        self._tally = tally
        self._count = 0
        self._seen = 0
        self._first: list[Failed] = []
        self._last: deque[Failed] = deque(maxlen=_NAMED)
        self._writes = rules.quarantine is not None
        if tally is not None:
            tally.begin(shard.worker, epoch)

    def note(self, failed: Failed, seen: int) -> None:
        """Write a failure down and count it.

        Args:
            failed: the sample.
            seen: samples that this process has gone through in this iteration, this one included.

        Raises:
            TooManyFailures: it is one more than is allowed. Under ``on_error="raise"`` the failure itself is raised,
                by whoever asks, and none is counted against the budget.
        """
        self._count += 1
        self._seen = seen
        self._last.append(failed)
        if len(self._first) < _NAMED:
            self._first.append(failed)
        self._write(failed)
        if self._on_error == "raise":
            return
        # Workers take the steps in turn: the others have come about as far.
        workers = 1 if self._tally is None else self._shard.workers
        count = self._count if self._tally is None else self._tally.add(self._shard.worker, workers)
        allowed = self._rules.allowed(seen * workers)
        if count > allowed:
            # The error says it all.
            self._first.clear()
            raise TooManyFailures(
                self._complaint(count, seen * workers, allowed),
                failures=count,
                allowed=allowed,
                keys=tuple(each.ref.uri for each in self._last),
            ) from failed.error

    def close(self) -> None:
        """Say in one line of the log how many samples failed and which, if any did. Idempotent."""
        if self._first and self._on_error != "raise":
            _LOG.warning(
                "%s: %d of %d samples failed and were %s: %s%s",
                self._place,
                self._count,
                self._seen,
                _DONE[self._on_error],
                self._names(),
                self._whereabouts(),
            )
        self._first.clear()

    def end(self, seen: int) -> None:
        """As `close`, where the part is through; `seen` as in `note`."""
        self._seen = max(seen, self._seen)
        self.close()

    @property
    def _place(self) -> str:
        rank = f", rank {self._shard.rank}" if self._shard.rank else ""
        worker = f", worker {self._shard.worker}" if self._shard.workers > 1 else ""
        return f"epoch {self._epoch}{rank}{worker}"

    def _names(self) -> str:
        named = ", ".join(f"{each.ref.uri} ({type(each.error).__name__})" for each in self._first)
        more = self._count - len(self._first)
        return f"{named} and {more} more" if more else named

    def _complaint(self, count: int, seen: int, allowed: int) -> str:
        last = "; ".join(f"{each.ref.uri} ({type(each.error).__name__})" for each in islice(self._last, _NAMED))
        return (
            f"{self._place}: {count} of {seen} samples failed, and max_failures={self._rules.max_failures} allows "
            f"{allowed}; the last ones: {last}; the very last because of: {self._last[-1].error}{self._whereabouts()}"
        )

    def _whereabouts(self) -> str:
        return f"; all of them: {self._rules.quarantine}" if self._rules.quarantine else ""

    def _write(self, failed: Failed) -> None:
        if not self._writes or self._rules.quarantine is None:
            return
        try:
            append_quarantined(self._rules.quarantine, Quarantined.of(failed))
        except OSError as error:
            # A full disk is no reason to stop a training that goes on without this file.
            self._writes = False
            _LOG.warning(
                "quarantine file %s: %s; no more is written to it in this epoch", self._rules.quarantine, error
            )
