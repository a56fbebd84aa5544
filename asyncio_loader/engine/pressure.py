"""How many GETs at once, and how many per second: found by what comes back. Pure: the caller tells the time."""

from __future__ import annotations

import enum
import math

__all__ = ["Ended", "Level", "Pace"]

# At a first byte after 30 ms this is 1,000 GET/s, and doubled within 60 ms if it is worth it.
_START = 32
_LEAST = 4

# What an object weighs beside its bytes, so that goodput means something for small objects and for large ones.
_OBJECT_BYTES = 64 * 1024

# A doubling that brings less than a fifth more is no gain.
_START_GAIN = 1.2
# In steady state: 25 % more in flight must bring 8 % more, and a fifth less may not cost more than 4 %.
_UP, _UP_GAIN = 1.25, 1.08
_DOWN, _DOWN_LOSS = 0.8, 0.96

_START_PERIOD_S = 0.03
_STEADY_PERIOD_S = 0.5
_FIRST_PROBE_S, _MOST_PROBE_S = 1.0, 16.0

# More lost or timed-out GETs than this are a sign of too many of them.
_STRAIN = 0.05
_STRAIN_BACK_OFF = 0.7

# More refusals than this are a throttle, or are tried as one.
_THROTTLED = 0.01
_PACE_WINDOW_S = 0.25
_PACE_LEAST = 20
_PACE_LONGEST_S = 4.0
# A longer time without any answer counts as this much.
_IDLE_S = 0.1
_PACE_BACK_OFF = 0.95
# The rate after a refusal grows as CUBIC's window does (RFC 9438): quickly back to where it was refused, slowly beyond,
# then faster and faster, so that a limit that has doubled is found within 5 s. Per second cubed, in shares of the rate.
_CUBIC = 0.02
# And every second by this times the root of it: who has less gets relatively more, so that loaders which share a limit
# get equal shares of it in the end.
_SHARING = 0.5
_LEAST_GROWING = 50.0
# Nobody goes below this, in GET/s: a limit that small for all of a node's processes is none to train with.
_LEAST_RATE = 10.0
# Refusals that are not fewer at a lower rate have nothing to do with it; that is tried again after so long.
_SAME = 0.6
# For refusals the rate must have come down by so much before that is judged.
_JUDGED_AT = 0.8
# So many are never a coincidence; a neighbour may be taking what this process leaves.
_MOST_IGNORED = 0.4
_FIRST_HOLD_S, _MOST_HOLD_S = 30.0, 480.0
# With fewer refusals than this the pace itself says what the limit is.
_CLOSE = 0.3
_LEAST_CUT = 0.5
# How much of the best rate counts a window later.
_PEAK_LASTS = 0.9
# A pace that is not kept to this share is not raised.
_ACHIEVED = 0.9
# A pace that nobody has needed for so long is dropped.
_UNUSED_S = 30.0


class Ended(enum.Enum):
    """How a GET ended."""

    WELL = enum.auto()
    REFUSED = enum.auto()  # 503 SlowDown and its like
    STRAINED = enum.auto()  # timed out, or the connection was lost
    OTHERWISE = enum.auto()  # an answer that has nothing to do with load


class _Tally:
    """What has ended since the beginning of a period."""

    __slots__ = (
        "begun_s",
        "bound",
        "busy_s",
        "ended",
        "is_paced",
        "last_s",
        "latency_s",
        "refused",
        "strained",
        "well",
        "work_bytes",
    )

    def __init__(self, begun_s: float) -> None:
        self.begun_s = self.last_s = begun_s
        self.busy_s = 0.0
        self.is_paced = False
        self.ended = self.well = self.refused = self.strained = self.bound = self.work_bytes = 0
        self.latency_s = 0.0

    def add(self, ended: Ended, size_bytes: int, latency_s: float, is_bound: bool) -> None:
        self.ended += 1
        self.bound += is_bound
        self.latency_s += latency_s
        if ended is Ended.WELL:
            self.well += 1
            self.work_bytes += size_bytes + _OBJECT_BYTES
        elif ended is Ended.REFUSED:
            self.refused += 1
        elif ended is Ended.STRAINED:
            self.strained += 1


class Level:
    """GETs at the same time: doubled while that pays, then moved by small trials.

    Only a level that holds something back is tried: where the window or the consumer is the limit, it stays. Lost and
    timed-out GETs bring it down by three tenths, and up again if their share is no smaller there.

    Args:
        ceiling: GETs at the same time, at the most.
        now_s: the time.

    Attributes:
        limit: the level.
    """

    __slots__ = (
        "_base",
        "_ceiling",
        "_direction",
        "_home",
        "_ignored_strain",
        "_next_probe_s",
        "_probe_s",
        "_settles_s",
        "_state",
        "_strain",
        "_tally",
        "limit",
    )

    def __init__(self, ceiling: int, now_s: float) -> None:
        self._ceiling = ceiling
        self.limit = min(_START, ceiling)
        self._state = _Climb.START
        self._home = self.limit  # where to go back to
        self._base = 0.0  # the goodput there
        self._direction = _UP
        self._probe_s = _FIRST_PROBE_S
        self._next_probe_s = 0.0
        self._settles_s = now_s
        self._strain = 0.0
        self._ignored_strain = 0.0
        self._tally = _Tally(now_s)

    def note(
        self,
        ended: Ended,
        size_bytes: int,
        latency_s: float,
        now_s: float,
        *,
        is_bound: bool,
        is_paced: bool = False,
    ) -> None:
        """A GET has ended.

        Args:
            ended: how.
            size_bytes: of what it brought.
            latency_s: how long the server took.
            now_s: the time.
            is_bound: whether more would have been in flight if the level were higher.
            is_paced: whether a pace held something back; goodput then says nothing about the level.
        """
        tally = self._tally
        if now_s < self._settles_s:
            # What was begun at the level before.
            tally.begun_s = now_s
            return
        tally.add(ended, size_bytes, latency_s, is_bound)
        tally.is_paced = tally.is_paced or is_paced
        if tally.ended < max(16, self.limit):
            return
        elapsed_s = now_s - tally.begun_s
        mean_s = tally.latency_s / tally.ended
        least_s = _START_PERIOD_S if self._state is _Climb.START else _STEADY_PERIOD_S
        if elapsed_s >= max(least_s, 2.0 * mean_s):
            self._step(tally, elapsed_s, now_s)
            self._tally = _Tally(now_s)

    def _step(self, tally: _Tally, elapsed_s: float, now_s: float) -> None:
        goodput = tally.work_bytes / elapsed_s
        mean_s = tally.latency_s / tally.ended
        before = self.limit
        if not self._heed_strain(tally, now_s):
            if tally.is_paced or tally.bound < tally.ended / 2:
                self._rest()
            elif self._state is _Climb.START:
                self._climb(goodput, now_s)
            elif self._state is _Climb.PROBE:
                self._judge(goodput, now_s)
            else:
                self._probe(goodput, now_s)
        if self.limit != before:
            self._settles_s = now_s + mean_s

    def _rest(self) -> None:
        """Something else is the limit: a trial says nothing."""
        if self._state is _Climb.PROBE:
            self.limit = self._home
            self._state = _Climb.STEADY

    def _climb(self, goodput: float, now_s: float) -> None:
        if goodput >= _START_GAIN * self._base and self.limit < self._ceiling:
            self._home, self._base = self.limit, goodput
            self.limit = min(self._ceiling, 2 * self.limit)
            return
        if goodput < _START_GAIN * self._base:
            self.limit = self._home
        self._state = _Climb.STEADY
        self._next_probe_s = now_s + self._probe_s

    def _probe(self, goodput: float, now_s: float) -> None:
        if now_s < self._next_probe_s:
            return
        tried = round(self.limit * self._direction)
        tried = min(self._ceiling, max(_LEAST, tried))
        if tried == self.limit:
            self._turn(now_s)
            return
        self._home, self._base = self.limit, goodput
        self.limit = tried
        self._state = _Climb.PROBE

    def _judge(self, goodput: float, now_s: float) -> None:
        self._state = _Climb.STEADY
        if goodput >= self._base * (_UP_GAIN if self._direction == _UP else _DOWN_LOSS):
            # On in this direction, at once.
            self._probe_s, self._next_probe_s = _FIRST_PROBE_S, now_s
            return
        self.limit = self._home
        self._turn(now_s)

    def _turn(self, now_s: float) -> None:
        self._direction = _DOWN if self._direction == _UP else _UP
        self._next_probe_s = now_s + self._probe_s
        self._probe_s = min(_MOST_PROBE_S, 2.0 * self._probe_s)

    def _heed_strain(self, tally: _Tally, now_s: float) -> bool:
        """Back off, or see whether that has helped; whether the level was decided by it."""
        strain = tally.strained / tally.ended
        if self._strain:
            tried, self._strain = self._strain, 0.0
            if _SAME * tried <= strain < _MOST_IGNORED:
                # It was not the level.
                self._ignored_strain = strain
                self.limit = self._home
                return True
            self._ignored_strain = 0.0
        if tally.strained < 2 or strain <= max(_STRAIN, 1.5 * self._ignored_strain):
            return False
        self._strain = strain
        self._home = self.limit
        self.limit = max(_LEAST, int(self.limit * _STRAIN_BACK_OFF))
        self._state = _Climb.STEADY
        self._direction = _DOWN
        self._turn(now_s)
        return True


class _Climb(enum.Enum):
    START = enum.auto()
    STEADY = enum.auto()
    PROBE = enum.auto()


class Pace:
    """GETs per second, once some were refused; before, it costs nothing and limits nothing.

    The rate of those that were not refused, measured from the first refusal on, is the server's limit. The pace is a
    little below it, and grows from there until the next refusals. If as large a share is refused at the lower rate, the
    rate is not the reason, and the pace is dropped.

    Attributes:
        rate: GETs per second; infinite where there is no pace.
        is_wanted: to be set where the pace holds something back; for a time, then it must be set again.
    """

    __slots__ = (
        "_base",
        "_count",
        "_counts_since_s",
        "_grows_since_s",
        "_hold_s",
        "_ignored",
        "_ignored_until_s",
        "_limit",
        "_peak",
        "_settles_s",
        "_tally",
        "_trial",
        "_unused_since_s",
        "is_wanted",
        "rate",
    )

    def __init__(self) -> None:
        self.rate = math.inf
        self.is_wanted = False
        self._tally: _Tally | None = None
        self._limit = self._base = math.inf
        # GETs per second in the best of the latest windows without refusals.
        self._peak = 0.0
        self._count = 0
        self._counts_since_s = 0.0
        # The share that was refused before backing off, and the rate.
        self._trial: tuple[float, float] | None = None
        self._grows_since_s = self._settles_s = self._unused_since_s = 0.0
        self._ignored = 0.0
        self._ignored_until_s = 0.0
        self._hold_s = _FIRST_HOLD_S

    @property
    def is_on(self) -> bool:
        """Whether there is a pace."""
        return self.rate < math.inf

    def note(self, ended: Ended, latency_s: float, now_s: float) -> None:
        """A GET has ended, after so many seconds of the server's."""
        tally = self._tally
        if tally is None:
            self._count += 1
            if now_s - self._counts_since_s >= _PACE_WINDOW_S:
                self._peak = max(self._count / (now_s - self._counts_since_s), _PEAK_LASTS * self._peak)
                self._count, self._counts_since_s = 0, now_s
            if ended is not Ended.REFUSED:
                return
            tally = self._tally = _Tally(now_s)
        if now_s < self._settles_s:
            # What was begun at the rate before.
            tally.begun_s = tally.last_s = now_s
            return
        tally.add(ended, 0, latency_s, False)
        # Where all wait for one object nothing comes for a while, which says nothing about a rate.
        tally.busy_s += min(now_s - tally.last_s, _IDLE_S)
        tally.last_s = now_s
        elapsed_s = tally.busy_s
        if elapsed_s >= _PACE_WINDOW_S and (tally.ended >= _PACE_LEAST or elapsed_s >= _PACE_LONGEST_S):
            self._tally = _Tally(now_s)
            self._step(tally, elapsed_s, now_s)

    def _step(self, tally: _Tally, elapsed_s: float, now_s: float) -> None:
        refused = tally.refused / tally.ended
        if now_s >= self._ignored_until_s:
            self._ignored = 0.0
        if self.is_on:
            # Not all of what was ignored came whatever the rate.
            self._ignored = min(self._ignored, refused)
        if tally.refused >= 2 and refused > max(_THROTTLED, 1.5 * self._ignored):
            if self._trial is None or refused > self._trial[0] / _SAME:
                rate = tally.ended / elapsed_s
                self._trial = refused, rate if self.is_on else max(rate, self._peak)
            elif self.rate <= _JUDGED_AT * self._trial[1] and _SAME * self._trial[0] <= refused < _MOST_IGNORED:
                self._ignore(refused, now_s)
                return
            self._back_off(tally, elapsed_s, now_s)
        elif self.is_on:
            self._trial = None
            self._grow(tally.ended / elapsed_s, elapsed_s, now_s)
        elif not tally.refused:
            self._tally = None

    def _ignore(self, refused: float, now_s: float) -> None:
        self.rate = math.inf
        self._trial = None
        self._ignored = refused
        self._ignored_until_s = now_s + self._hold_s
        self._hold_s = min(_MOST_HOLD_S, 2.0 * self._hold_s)

    def _back_off(self, tally: _Tally, elapsed_s: float, now_s: float) -> None:
        refused = tally.refused / tally.ended
        # A few refusals say by how much the pace was too fast. A count says less: this process may have paused.
        limit = tally.well / elapsed_s
        if not self.is_on:
            # Where all wait for one object, little comes for other reasons than a limit.
            limit = max(limit, _LEAST_CUT * self._peak)
        else:
            # Nor may a neighbour's burst take everything away; then the old rate is soon tried again.
            limit = (1.0 - refused) * self.rate if refused < _CLOSE else max(_LEAST_CUT * self.rate, limit)
        self._limit = max(_LEAST_RATE, self.rate if self.is_on and refused >= _CLOSE else limit)
        self.rate = max(_LEAST_RATE, _PACE_BACK_OFF * limit)
        self._base = self.rate
        self._settles_s = self._grows_since_s = self._unused_since_s = now_s + 2.0 * tally.latency_s / tally.ended

    def _grow(self, achieved: float, elapsed_s: float, now_s: float) -> None:
        if not self.is_wanted:
            # A rate that nobody asks for is not tried by growing.
            self._grows_since_s = now_s
            self._base, self._limit = self.rate, max(self.rate, self._limit)
            if now_s - self._unused_since_s > _UNUSED_S:
                self.rate = math.inf
                self._tally = None
            return
        self.is_wanted = False
        self._unused_since_s = now_s
        if achieved < _ACHIEVED * self.rate:
            # This process does not manage that rate now; how much the server would take is not known.
            self._grows_since_s += elapsed_s
            return
        passed_s = now_s - self._grows_since_s
        until_limit_s = ((1.0 - self._base / self._limit) / _CUBIC) ** (1.0 / 3.0)
        cubic = self._limit * (1.0 + _CUBIC * (passed_s - until_limit_s) ** 3)
        self.rate = max(self.rate, cubic + _SHARING * math.sqrt(max(_LEAST_GROWING, self._limit)) * passed_s)
