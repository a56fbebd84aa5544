"""Where each bucket is: the region that its requests are signed for, and the endpoint they go to."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace

from asyncio_loader.stores.s3.address import Address, Endpoint, parse_uri
from asyncio_loader.stores.s3.faults import Refusal

__all__ = ["Route", "Routes"]

_LOG = logging.getLogger(__name__)

# What the log has told of: every epoch of a dataset begins with new routes.
_told: set[tuple[str, str]] = set()

# "us-gov-west-1", "ap-southeast-4"; and what MinIO and others let one choose. It goes into a host name and a signature.
_REGION = re.compile(r"[a-z0-9][a-z0-9\-]{1,40}")


@dataclass(frozen=True, slots=True)
class Route:
    """How a bucket is reached.

    Attributes:
        endpoint: the server.
        region: what requests are signed for.
        host: in place of the endpoint's, for one request; None: the endpoint's.
    """

    endpoint: Endpoint
    region: str
    host: str | None = None

    def locate(self, uri: str) -> Address:
        """See `Endpoint.locate`."""
        address = self.endpoint.locate(uri)
        return address if self.host is None else address._replace(host=self.host)


class Routes:
    """The routes of one service, with what its buckets have told of themselves.

    S3 answers a request for a bucket in another region with 301 or 400 and that region, and one for a bucket so new
    that its name is not known everywhere yet with 307 and the host to ask ("Request redirection and the REST API",
    Amazon S3 User Guide). A region is remembered, a host is not: it is for that one request.
    """

    def __init__(self, endpoint: Endpoint, region: str) -> None:
        self._default = Route(endpoint, region)
        self._of_bucket: dict[str, Route] = {}

    def of(self, uri: str) -> Route:
        """The route of a URI's bucket."""
        if not self._of_bucket:
            return self._default
        return self._of_bucket.get(parse_uri(uri)[0], self._default)

    def elsewhere(self, uri: str, route: Route, refusal: Refusal) -> Route | None:
        """Where to ask instead; None where the refusal does not say, or says what was tried.

        Only Amazon's own servers may name another host, and only another of Amazon's.
        """
        endpoint = route.endpoint
        if refusal.status == 307 and endpoint.is_aws and endpoint.is_related(refusal.host):
            return None if route.host == refusal.host else replace(route, host=refusal.host)
        region = refusal.region
        if not refusal.is_elsewhere(route.region) or region in ("", route.region) or not _REGION.fullmatch(region):
            return None
        return Route(endpoint.in_region(route.region, region), region)

    def remember(self, uri: str, route: Route) -> None:
        """A bucket has been found there."""
        bucket, _ = parse_uri(uri)
        if route.host is not None or self._of_bucket.get(bucket) == route:
            return
        self._of_bucket[bucket] = route
        if (bucket, route.region) in _told:
            return
        _told.add((bucket, route.region))
        _LOG.warning(
            "s3://%s is in region %r, not in %r, which costs a request in vain: set S3Options.region_name (AWS_REGION,"
            " or the profile's region)",
            bucket,
            route.region,
            self._default.region,
        )
