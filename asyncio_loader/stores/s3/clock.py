"""The time that requests are signed with: the server's, where this machine's clock is too wrong for it."""

from __future__ import annotations

import logging
import time

__all__ = ["MAX_OFFSET_S", "ServerClock"]

_LOG = logging.getLogger(__name__)

# Servers that the log has told of: every epoch of a dataset begins with a new clock.
_told: set[str] = set()

MAX_OFFSET_S = 86_400.0
"""What is corrected at most. A day: more than local time taken for UTC needs, and nobody who poses as the server gets
signatures out of us that will be good in a later week."""

# A server refuses what was signed more than 15 minutes ago or ahead ("RequestTimeTooSkewed", Amazon S3 API Reference);
# some seconds less, for answers take time, and a Date has no fractions.
_REFUSED_SKEW_S = 890.0

# Below this the server's Date and our time agree: something else is wrong than the clock.
_LEAST_CHANGE_S = 60.0


class ServerClock:
    """Seconds since 1970 as one server counts them: this machine's, until the server refuses a request for its time.

    The Date of that answer then tells the offset, to the second, and it serves all later requests. Belongs to one loop.

    Args:
        server: its URL, for messages.

    Attributes:
        offset_s: the server's time minus this machine's.
    """

    __slots__ = ("_server", "offset_s")

    def __init__(self, server: str) -> None:
        self._server = server
        self.offset_s = 0.0

    def now_s(self) -> float:
        """The time to sign with."""
        return time.time() + self.offset_s

    def correct(self, signed_offset_s: float, server_s: float | None) -> bool:
        """The server refused a request for its time; True if it should be signed anew.

        Args:
            signed_offset_s: the offset that it was signed with. Where another request has brought a better one
                meanwhile, that is good for this one, too.
            server_s: the time of the answer by the server's clock, or None.
        """
        if self.offset_s != signed_offset_s:
            return True
        if server_s is None:
            return False
        offset_s = server_s - time.time()
        if abs(offset_s) > MAX_OFFSET_S or abs(offset_s - signed_offset_s) < _LEAST_CHANGE_S:
            return False
        self.offset_s = offset_s
        self._tell()
        return True

    def is_refusable(self, signed_offset_s: float, server_s: float | None) -> bool:
        """Whether the server's Date is so far from the time that was signed that it may have refused it for that."""
        return server_s is not None and abs(server_s - time.time() - signed_offset_s) >= _REFUSED_SKEW_S

    def _tell(self) -> None:
        level = logging.DEBUG if self._server in _told else logging.WARNING
        _told.add(self._server)
        _LOG.log(
            level,
            "this machine's clock is %.0f s %s that of %s: requests are signed with the server's time from now on; set"
            " the clock (NTP)",
            abs(self.offset_s),
            "behind" if self.offset_s > 0 else "ahead of",
            self._server,
        )
