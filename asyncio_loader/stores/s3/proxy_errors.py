"""What a proxy says that does not lead to S3: two clients meet it, and tell it in the same words."""

from __future__ import annotations

import aiohttp

from asyncio_loader.errors import AccessDenied, ConnectionLost
from asyncio_loader.stores.s3.transport import TransportError

__all__ = ["turned_away"]


def turned_away(endpoint: str, error: BaseException | None) -> TransportError:
    """The error of a proxy that makes no tunnel: final where it is about credentials or rules, else for another try.

    Args:
        endpoint: where it was to lead to.
        error: aiohttp's. Of a refusal it says no more than the status: a proxy may repeat what it was sent.
    """
    if not isinstance(error, aiohttp.ClientHttpProxyError):
        inner = getattr(error, "os_error", None) or error
        reason = f" ({getattr(inner, 'strerror', None) or type(inner).__name__})" if inner is not None else ""
        what = f"the proxy does not lead to {endpoint}{reason}; look at HTTPS_PROXY and NO_PROXY"
        return TransportError(what, kind=ConnectionLost)
    label = f"(HTTP {error.status})"
    if error.status == 407:
        what = f"the proxy to {endpoint} wants other credentials {label}; look at user and password in HTTPS_PROXY"
        return TransportError(what, kind=AccessDenied)
    what = f"the proxy does not lead to {endpoint} {label}; look at HTTPS_PROXY and NO_PROXY"
    return TransportError(what, kind=AccessDenied if error.status == 403 else ConnectionLost)
