"""Which client carries what: ours reads, aiohttp writes, and reads where ours cannot."""

from __future__ import annotations

import logging
import ssl

from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.s3.connections import Http1Transport
from asyncio_loader.stores.s3.site import Site
from asyncio_loader.stores.s3.transport import Transport

__all__ = ["Transports"]

_LOG = logging.getLogger(__name__)

# Endpoints that the log has told of: every epoch of a dataset opens its transports anew.
_told: set[str] = set()


class Transports:
    """The clients of one site, on one loop; each is made when it is first needed.

    Our own client reads, unless the options or the environment (a proxy, which it cannot use) want aiohttp; PUTs are
    aiohttp's always.

    Args:
        site: where S3 is.
        options: which client is wanted.
        tls: None for plain http.
        timeouts: of each request.
    """

    def __init__(self, site: Site, options: S3Options, tls: ssl.SSLContext | None, timeouts: RetryPolicy) -> None:
        self._site = site
        self._tls = tls
        self._timeouts = timeouts
        self._writing: Transport | None = None
        self._is_ours = options.transport == "http1" and site.proxy is None
        if options.transport == "http1" and site.proxy is not None and site.endpoint.url not in _told:
            _told.add(site.endpoint.url)
            _LOG.warning(
                "GETs go through aiohttp, at a multiple of the CPU time: the environment names a proxy for %s, which"
                " our own client does not use (NO_PROXY names exceptions)",
                site.endpoint.url,
            )
        self._reading: Transport | None = None

    @property
    def reading(self) -> Transport:
        """For GET and HEAD."""
        if self._reading is None:
            if self._is_ours:
                endpoint = self._site.endpoint
                self._reading = Http1Transport(endpoint.url, endpoint.scheme, self._tls, timeouts=self._timeouts)
            else:
                self._reading = self.writing
        return self._reading

    @property
    def ours(self) -> Http1Transport | None:
        """`reading`, where that is our own client."""
        reading = self.reading
        return reading if isinstance(reading, Http1Transport) else None

    @property
    def writing(self) -> Transport:
        """For PUT."""
        if self._writing is None:
            # Here, because aiohttp takes a third of a second to import, and who only reads does not need it.
            from asyncio_loader.stores.s3.aiohttp_transport import AiohttpTransport

            site = self._site
            self._writing = AiohttpTransport(site.endpoint.url, self._tls, timeouts=self._timeouts, proxy=site.proxy)
        return self._writing

    async def aclose(self) -> None:
        """Close both."""
        for transport in dict.fromkeys((self._reading, self._writing)):
            if transport is not None:
                await transport.aclose()
