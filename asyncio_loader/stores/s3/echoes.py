"""What must not be chained to an error of ours, because its traceback would show what went over the wire."""

from __future__ import annotations

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

__all__ = ["cause_of"]


def cause_of(error: BaseException) -> BaseException | None:
    """The error to chain to ours; None if its traceback shows the headers of a request, or bytes of the answer.

    aiohttp's do, those that came instead of an HTTP answer; a server may echo there what it was sent. They may stand
    behind others: a connection that breaks in the middle of sending names one as its cause, and so does botocore.
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, aiohttp.ClientResponseError | HttpProcessingError):
            return None
        link = link.__cause__ or link.__context__
    return error
