"""Slow GETs: which of them gets a second one, and which is hopeless. The race of the two is in `race`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from asyncio_loader.engine.traffic import Traffic
from asyncio_loader.errors import FetchError
from asyncio_loader.records import Buffer
from asyncio_loader.stats import Counters
from asyncio_loader.stats.durations import LatencyHistogram

__all__ = ["Hedging", "SizeClass", "StartTask", "Watched"]

MIB = 1024 * 1024

# Fewer durations than this say nothing of a 98th percentile.
_LEAST_SEEN = 64

# The oldest object is hedged at two and a half times the share: with 2 %, the 95th percentile instead of the 98th.
_URGENCY = 2.5

# Second GETs that may be saved up, so that a burst of slow ones meets a few at once and the average holds.
_SAVED = 8.0

# The object that the consumer waits for is stuck after so many times of what 98 in 100 take. It then gets a second GET
# even if none are saved up, for nothing is while nothing else can come; but not more than ten a second.
_STUCK_TAILS = 2.0
_STUCK_EVERY_S = 0.1

# The median of the latest GETs against the usual one: above, everything is slow and a second GET would be, too, and it
# would add to what makes the server slow. Below the lower one that is over.
_BROWN_OUT = 2.0
_BROWN_OUT_OVER = 1.5

# What is slow for so long that the usual median doubles in this time is the new usual.
_USUAL_DOUBLES_S = 60.0

# A body slower than this, beside the patience for its first byte, is hopeless.
_LEAST_BYTES_PER_S = MIB

# AWS lets a GET of less than 512 KB that takes 2 s be made again, and then again after 4 s ("Timeouts and Retries for
# Latency-Sensitive Applications"). Where the usual tail is longer than that, this many times its 99th percentile.
_LATE_TAILS = 4.0

_LEAST_TICK_S, _MOST_TICK_S = 0.005, 0.1

# What takes less is not worth a second GET: it is hardly longer than a busy process takes to look at an answer.
_LEAST_HEDGE_S = 0.02

# A look that comes so much too late finds all GETs old because this process did not run; their answers lie in sockets.
_LAG_S = 0.05


class StartTask(Protocol):
    """Starts a task in whose failure all others end, as `asyncio.TaskGroup.create_task`."""

    def __call__(self, coro: Coroutine[Any, Any, Buffer | FetchError], /) -> asyncio.Task[Buffer | FetchError]: ...


class Watched(Protocol):
    """What a `Hedging` has to know of a GET under way, and can do to it.

    Attributes:
        order: place in the consumer's sequence.
        size_bytes: of the object, known or expected.
        given_up: attempts before this one that were too slow.
        begun_s: when this attempt was begun, on the loop's clock.
    """

    order: int
    size_bytes: int
    given_up: int
    begun_s: float

    def age_s(self, now_s: float) -> float:
        """How long the server has been taking."""

    def quiet_s(self, now_s: float) -> float:
        """How long there has been no sign of an answer."""

    def may_hedge(self, now_s: float, patience_s: float) -> bool:
        """Whether a second GET could be of use; where there is one, whether that has taken longer than `patience_s`."""

    def hedge(self, start: StartTask, now_s: float) -> None:
        """Begin a second GET, in place of the one that there may be."""

    def is_second_stuck(self, now_s: float, patience_s: float) -> bool:
        """Whether all hangs on a second GET, and that has given no sign for so long."""

    def give_up(self) -> None:
        """End the attempt as timed out."""


class Hedging:
    """Watches the GETs under way, by what GETs of their size took lately.

    A GET slower than all but `share` of them gets a second one; the object that the consumer waits for does so sooner.
    Second GETs are `share` of all at most, over any time but for eight that may be saved up, and none where the latency
    of all rises at once; but for the object that the consumer waits for, if it is stuck. Whichever of the two has the
    head of its answer first is read; the other one is dropped. So no object is ever in memory twice.

    A second GET that is refused or lost may be followed by another one, while the first still gives no sign; one as
    slow as the first is replaced, out of the same share. Where the first is gone and the second hangs, there is another
    attempt.

    A GET that takes `late_s`, or four times the 99th percentile if that is longer, is given up as timed out; the next
    attempt has twice as long, and so on.

    There is no timer per GET: one looks at the oldest of each class of sizes, 10 to 200 times a second.

    Lives in one event loop.

    Attributes:
        traffic: see there.
    """

    def __init__(
        self,
        share: float,
        late_s: float,
        *,
        counters: Counters,
        next_order: Callable[[], int],
        is_waited_for: Callable[[], bool],
        traffic: Traffic | None = None,
    ) -> None:
        """Describe it.

        Args:
            share: of the GETs that may be second ones, 0 to 1; 0: none.
            late_s: seconds after which a first GET of a small object is given up; 0: never.
            counters: where it counts.
            next_order: the place in the consumer's sequence of the oldest object that is not delivered yet.
            is_waited_for: whether the consumer waits for that one.
            traffic: what the GETs go by, and report to; there are no second ones while there is a pace. None: they
                begin at once, as many as there are.
        """
        self.traffic = traffic
        self._share = share
        self._late_s = late_s
        self._counters = counters
        self._next_order = next_order
        self._is_waited_for = is_waited_for
        self._loop = asyncio.get_running_loop()
        self._start: StartTask | None = None
        self._classes: dict[int, SizeClass] = {}
        self._saved = 1.0
        self._stuck_s = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    def open(self, start: StartTask) -> None:
        """From now on, second GETs are tasks that `start` makes."""
        self._start = start

    def close(self) -> None:
        """Look no more. Idempotent."""
        self._start = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def enter(self, get: Watched) -> SizeClass:
        """An attempt begins; its class."""
        self._saved = min(_SAVED, self._saved + self._share)
        # Steps of four; what is below 16 KiB takes the same time.
        number = max(14, get.size_bytes.bit_length()) // 2
        kind = self._classes.get(number)
        if kind is None:
            kind = self._classes[number] = SizeClass(self._share, self._late_s, 4**number)
        if not kind.is_known:
            self._introduce(kind, number)
        kind.running[get.order] = get
        if self._timer is None:
            self._set_timer(kind.tick_s)
        return kind

    def _introduce(self, kind: SizeClass, number: int) -> None:
        """Give a class what its neighbour has seen: an expected size that moves to and fro across a border must not
        leave the objects there without protection."""
        larger, smaller = self._classes.get(number + 1), self._classes.get(number - 1)
        if larger is not None and larger.is_known:
            kind.begin_as(larger, self._loop.time())
        elif smaller is not None and smaller.is_known:
            # Four times the size takes four times as long at the most.
            kind.begin_as(smaller, self._loop.time(), doublings=2)

    def _set_timer(self, tick_s: float) -> None:
        looks_s = self._loop.time() + tick_s
        self._timer = self._loop.call_at(looks_s, self._look, looks_s)

    def _look(self, looks_s: float) -> None:
        self._timer = None
        if self._start is None:
            return
        now_s = self._loop.time()
        if now_s - looks_s > _LAG_S:
            self._set_timer(_LAG_S)
            return
        oldest = self._next_order()
        is_urgent = self._is_waited_for()
        tick_s = math.inf
        for kind in self._classes.values():
            if not kind.running:
                continue
            tick_s = min(tick_s, kind.tick_s)
            for get in kind.overdue(now_s):
                if get.age_s(now_s) >= kind.late_s * 2.0**get.given_up:
                    get.give_up()
                else:
                    self._hedge(get, kind, now_s)
            if is_urgent and (urgent := kind.running.get(oldest)) is not None:
                self._help(urgent, kind, now_s)
        if tick_s < math.inf:
            self._set_timer(tick_s)

    def _help(self, urgent: Watched, kind: SizeClass, now_s: float) -> None:
        """All wait for this one."""
        age_s = urgent.age_s(now_s)
        if age_s < kind.urgent_after_s:
            return
        if urgent.is_second_stuck(now_s, kind.stuck_after_s) and not kind.is_brown_out:
            urgent.give_up()
        else:
            self._hedge(urgent, kind, now_s, is_stuck=age_s >= kind.stuck_after_s)

    def _hedge(self, get: Watched, kind: SizeClass, now_s: float, *, is_stuck: bool = False) -> None:
        is_paced = self.traffic is not None and self.traffic.pace.is_on
        may_ignore_share = is_stuck and now_s >= self._stuck_s + _STUCK_EVERY_S
        if (
            (self._saved < 1.0 and not may_ignore_share)
            or ((is_paced or kind.is_brown_out) and not is_stuck)
            or get.quiet_s(now_s) < kind.urgent_after_s
            or not get.may_hedge(now_s, kind.hedge_after_s)
        ):
            return
        assert self._start is not None
        if self._saved >= 1.0:
            self._saved -= 1.0
        else:
            self._stuck_s = now_s
        self._counters.count_hedge()
        get.hedge(self._start, now_s)

    def note_won(self) -> None:
        """A second GET was the first to answer."""
        self._counters.hedges_won += 1


class SizeClass:
    """GETs of about the same size, and what they took lately.

    Attributes:
        running: attempts under way, by their order, the oldest first.
        late_s: after so long a first attempt is given up.
        hedge_after_s: after so long it gets a second GET; never before there is enough to go by.
        urgent_after_s: likewise, if the consumer waits for it.
        stuck_after_s: after so long there is something wrong with it.
        tick_s: how often to look.
        is_brown_out: all of them are slow.
    """

    __slots__ = (
        "_latencies",
        "_latest",
        "_latest_s",
        "_least_late_s",
        "_share",
        "_usual_s",
        "hedge_after_s",
        "is_brown_out",
        "late_s",
        "running",
        "stuck_after_s",
        "tick_s",
        "urgent_after_s",
    )

    def __init__(self, share: float, late_s: float, size_bytes: int) -> None:
        self.running: dict[int, Watched] = {}
        self._share = share
        self._least_late_s = late_s + size_bytes / _LEAST_BYTES_PER_S if late_s else math.inf
        self.late_s = self._least_late_s
        self.hedge_after_s = self.urgent_after_s = self.stuck_after_s = math.inf
        self.tick_s = _MOST_TICK_S
        self.is_brown_out = False
        self._latencies = LatencyHistogram()
        self._latest = LatencyHistogram(2 * _LEAST_SEEN)
        self._latest_s = 0.0
        self._usual_s = math.inf

    @property
    def is_known(self) -> bool:
        """Whether there is enough to go by."""
        return self._latencies.total >= _LEAST_SEEN

    def begin_as(self, other: SizeClass, now_s: float, *, doublings: int = 0) -> None:
        """Take what a known class has seen for a first guess, each time doubled so many times."""
        self._latencies = other._latencies.copy(doublings)
        self._latest = other._latest.copy(doublings)
        self._update(now_s)

    def overdue(self, now_s: float) -> list[Watched]:
        """Those that have taken longer than `hedge_after_s` or `late_s`, and are not about to end."""
        found = []
        limit_s = min(self.hedge_after_s, self.late_s)
        for get in self.running.values():
            if get.begun_s + limit_s > now_s:
                break
            if get.age_s(now_s) >= limit_s:
                found.append(get)
        return found

    def learn(self, seconds: float, now_s: float) -> None:
        """An attempt took so long, or a second GET was faster then."""
        self._latencies.add(seconds)
        self._latest.add(seconds)
        if self._latencies.total % _LEAST_SEEN == 0:
            self._update(now_s)

    def _update(self, now_s: float) -> None:
        latencies = self._latencies
        if self._least_late_s < math.inf:
            self.late_s = max(self._least_late_s, _LATE_TAILS * latencies.quantile(0.99))
        median_s = self._latest.quantile(0.5)
        doublings = min(64.0, (now_s - self._latest_s) / _USUAL_DOUBLES_S)
        self._usual_s = min(median_s, self._usual_s * 2.0**doublings)
        self._latest_s = now_s
        ratio = median_s / self._usual_s
        self.is_brown_out = ratio > (_BROWN_OUT_OVER if self.is_brown_out else _BROWN_OUT)
        if self._share:
            self.hedge_after_s = max(_LEAST_HEDGE_S, latencies.quantile(1.0 - self._share))
            self.stuck_after_s = _STUCK_TAILS * self.hedge_after_s
            self.urgent_after_s = max(_LEAST_HEDGE_S, latencies.quantile(max(0.0, 1.0 - _URGENCY * self._share)))
            self.tick_s = min(_MOST_TICK_S, max(_LEAST_TICK_S, self.urgent_after_s / 8))
