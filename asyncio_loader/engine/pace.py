"""How many GETs per second: found by what a server refuses. Pure: the caller tells the time."""

from __future__ import annotations

import math

from asyncio_loader.engine.pressure import MOST_IGNORED, SAME, Ended, Tally

__all__ = ["Pace"]

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
# For refusals the rate must have come down by so much before that is judged.
_JUDGED_AT = 0.8
# Refusals that have nothing to do with the rate are heeded again after so long.
_FIRST_HOLD_S, _MOST_HOLD_S = 30.0, 480.0
# With fewer refusals than this the pace itself says what the limit is.
_CLOSE = 0.3
_LEAST_CUT = 0.5
# How much of the best rate counts a window later.
_PEAK_LASTS = 0.9
# A pace that is not kept to this share is not raised.
_ACHIEVED = 0.9
# Nor are refusals heeded at less than this share of it, or of what went well without one.
_USED = 0.5
# A pace that nobody has needed for so long is dropped.
_UNUSED_S = 30.0


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
        self._tally: Tally | None = None
        self._limit = self._base = math.inf
        # GETs per second that were not refused, in the best of the latest windows.
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
        self._count += ended is not Ended.REFUSED
        if now_s - self._counts_since_s >= _PACE_WINDOW_S:
            # Where next to nothing was asked for, nothing is known of what would have come.
            lasts = _PEAK_LASTS if self._count >= _PACE_LEAST else 1.0
            self._peak = max(self._count / (now_s - self._counts_since_s), lasts * self._peak)
            self._count, self._counts_since_s = 0, now_s
        tally = self._tally
        if tally is None:
            if ended is not Ended.REFUSED:
                return
            tally = self._tally = Tally(now_s)
        if now_s < self._settles_s:
            # What was begun at the rate before.
            tally.last_s = now_s
            return
        tally.add(ended, 0, latency_s, False)
        # Where all wait for one object nothing comes for a while, which says nothing about a rate.
        tally.busy_s += min(now_s - tally.last_s, _IDLE_S)
        tally.last_s = now_s
        elapsed_s = tally.busy_s
        if elapsed_s >= _PACE_WINDOW_S and (tally.ended >= _PACE_LEAST or elapsed_s >= _PACE_LONGEST_S):
            self._tally = Tally(now_s)
            self._step(tally, elapsed_s, now_s)

    def _step(self, tally: Tally, elapsed_s: float, now_s: float) -> None:
        refused = tally.refused / tally.ended
        if tally.refused and tally.ended / elapsed_s < _USED * (self.rate if self.is_on else self._peak):
            # So slow that the rate cannot be the reason: all wait for one object, say, in the weather of ever.
            return
        if now_s >= self._ignored_until_s:
            self._ignored = 0.0
        if self.is_on:
            # Not all of what was ignored came whatever the rate.
            self._ignored = min(self._ignored, refused)
        if tally.refused >= 2 and tally.refused > self._most_ignored(tally.ended):
            if self._trial is None or refused > self._trial[0] / SAME:
                rate = tally.ended / elapsed_s
                self._trial = refused, rate if self.is_on else max(rate, self._peak)
            elif self.rate <= _JUDGED_AT * self._trial[1] and SAME * self._trial[0] <= refused < MOST_IGNORED:
                self._ignore(refused, now_s)
                return
            self._back_off(tally, elapsed_s, now_s)
        elif self.is_on:
            self._trial = None
            self._grow(tally.ended / elapsed_s, elapsed_s, now_s)
        elif not tally.refused:
            self._tally = None

    def _most_ignored(self, ended: int) -> float:
        """Of so many GETs, how many may be refused without a reason to back off."""
        if not self._ignored:
            return _THROTTLED * ended
        # Of a few, by chance as many more as twice the standard deviation.
        return 1.5 * self._ignored * ended + 2.0 * math.sqrt(self._ignored * (1.0 - self._ignored) * ended)

    def _ignore(self, refused: float, now_s: float) -> None:
        self.rate = math.inf
        self._trial = None
        self._ignored = refused
        self._ignored_until_s = now_s + self._hold_s
        self._hold_s = min(_MOST_HOLD_S, 2.0 * self._hold_s)

    def _back_off(self, tally: Tally, elapsed_s: float, now_s: float) -> None:
        refused = tally.refused / tally.ended
        # A few refusals say by how much the pace was too fast. A count says less: this process may have paused.
        limit = tally.well / elapsed_s
        if not self.is_on:
            # Where all wait for one object, little comes for other reasons than a limit: at the end of a stall there
            # are a few GETs in seconds, a fifth of which may be refused as ever.
            limit = max(limit, _LEAST_CUT * self._peak)
        else:
            # Nor may a neighbour's burst take everything away; then the old rate is soon tried again. Answers that come
            # in bursts look faster than any pace; but what is refused is never a reason to go faster.
            well = min(self.rate, max(_LEAST_CUT * self.rate, limit))
            limit = (1.0 - refused) * self.rate if refused < _CLOSE else well
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
