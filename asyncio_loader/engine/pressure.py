"""How many GETs at once: found by what comes back. Pure: the caller tells the time."""

from __future__ import annotations

import enum

__all__ = ["MOST_IGNORED", "SAME", "Ended", "Level", "Tally"]

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

# Trouble of which this share is left after backing off had nothing to do with it.
SAME = 0.6
# But so much is never a coincidence; a neighbour may be taking what this process leaves.
MOST_IGNORED = 0.4


class Ended(enum.Enum):
    """How a GET ended."""

    WELL = enum.auto()
    REFUSED = enum.auto()  # 503 SlowDown and its like
    STRAINED = enum.auto()  # timed out, or the connection was lost
    OTHERWISE = enum.auto()  # an answer that has nothing to do with load


class Tally:
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
        """Count a GET that has ended; see `Level.note`."""
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
        self._tally = Tally(now_s)

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
            self._tally = Tally(now_s)

    def _step(self, tally: Tally, elapsed_s: float, now_s: float) -> None:
        goodput = tally.work_bytes / elapsed_s
        mean_s = tally.latency_s / tally.ended
        before = self.limit
        if not self._heed_strain(tally, now_s):
            if tally.is_paced or tally.bound < tally.ended / 2:
                self._rest(now_s, is_paced=tally.is_paced)
            elif self._state is _Climb.START:
                self._climb(goodput, now_s)
            elif self._state is _Climb.PROBE:
                self._judge(goodput, now_s)
            else:
                self._probe(goodput, now_s)
        if self.limit != before:
            self._settles_s = now_s + mean_s

    def _rest(self, now_s: float, *, is_paced: bool) -> None:
        """Something else is the limit: a trial says nothing.

        But for one that has come up against the pace: more in flight did bring more, and a pace that is kept may grow.
        Back at the level before, the pace would wait for the level, and the level for the pace.
        """
        if self._state is _Climb.PROBE:
            self._state = _Climb.STEADY
            if is_paced and self._direction == _UP:
                self._probe_s, self._next_probe_s = _FIRST_PROBE_S, now_s
            else:
                self.limit = self._home

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

    def _heed_strain(self, tally: Tally, now_s: float) -> bool:
        """Back off, or see whether that has helped; whether the level was decided by it."""
        strain = tally.strained / tally.ended
        if self._strain:
            tried, self._strain = self._strain, 0.0
            if SAME * tried <= strain < MOST_IGNORED:
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
