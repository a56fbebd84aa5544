"""What a signature rests on, and whether a better one may turn a refusal into an answer."""

from __future__ import annotations

from typing import NamedTuple

from asyncio_loader.stores.s3.clock import ServerClock
from asyncio_loader.stores.s3.credentials import Credentials
from asyncio_loader.stores.s3.faults import Refusal
from asyncio_loader.stores.s3.sigv4 import Keys

__all__ = ["MOST_SIGNATURES", "Basis", "is_mended"]

MOST_SIGNATURES = 3
"""A request may be signed anew for another time and with other keys, each once."""


class Basis(NamedTuple):
    """What a request was signed with.

    Attributes:
        keys: whose.
        offset_s: of `ServerClock`, at that moment.
    """

    keys: Keys
    offset_s: float


async def is_mended(refusal: Refusal, basis: Basis, credentials: Credentials, clock: ServerClock) -> bool:
    """Whether a request should be signed anew; what it needs is at hand then.

    Raises: see `Credentials.renew_keys`.
    """
    may_be_of_time = refusal.status in (400, 401, 403) and clock.is_refusable(basis.offset_s, refusal.date_s)
    if refusal.is_of_time or may_be_of_time:
        return clock.correct(basis.offset_s, refusal.date_s)
    if refusal.is_of_keys(has_token=basis.keys.token is not None):
        return await credentials.replace(basis.keys) is not basis.keys
    return False
