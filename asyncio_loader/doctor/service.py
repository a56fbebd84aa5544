"""The S3 service: where it is, who asks, and what it says to the first question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from asyncio_loader.doctor.findings import Finding, of_error
from asyncio_loader.errors import ConfigError, LoaderError
from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.address import parse_uri
from asyncio_loader.stores.s3.clock import MAX_OFFSET_S
from asyncio_loader.stores.s3.inspection import Identity, Inspection, Whereabouts, find_site
from asyncio_loader.stores.s3.store import S3Store

__all__ = ["check_service"]

# Asked for where the URI names no object. Whether it is there does not matter.
_ANY_KEY = "asyncio-loader-doctor"

# Below this a clock is right, as far as whole seconds can tell.
_RIGHT_CLOCK_S = 5.0

# A server refuses what was signed so long ago or ahead ("RequestTimeTooSkewed", Amazon S3 API Reference).
_REFUSED_SKEW_S = 900.0

# Keys that end before a night's training does.
_SHORT_LIFE_S = 3600.0

_SHOWN_ADDRESSES = 8


async def check_service(store: S3Store, options: S3Options, uri: str) -> AsyncIterator[Finding]:
    """Look at settings, keys, addresses, the first answer and the clock, in this order.

    It ends early, with a failure, where what comes next could only fail for the same reason; then nothing else about
    the bucket is worth a try. Uses the store, and leaves it open.
    """
    try:
        whereabouts = await asyncio.to_thread(find_site, options)
    except ConfigError as error:
        yield of_error("settings", error, uri)
        return
    for finding in _of_whereabouts(whereabouts):
        yield finding
    inspection = await store.inspect()
    try:
        yield _of_identity(await inspection.identify())
    except LoaderError as error:
        yield of_error("credentials", error, uri)
        return
    probe = _probe_of(uri)
    if whereabouts.site.proxy is None:
        try:
            yield _of_addresses(await inspection.look_up(probe))
        except LoaderError as error:
            yield of_error(
                "addresses", error, probe, advice="look at S3Options.endpoint_url, the region, and this machine's DNS"
            )
            return
    async for finding in _ask(inspection, probe, uri, whereabouts):
        yield finding


async def _ask(inspection: Inspection, probe: str, uri: str, whereabouts: Whereabouts) -> AsyncIterator[Finding]:
    try:
        answer = await inspection.ask(probe)
    except LoaderError as error:
        found = of_error("connection", error, probe)
        advice = f"is that the right endpoint ({whereabouts.endpoint_source}), does it run, can this machine reach it?"
        yield replace(found, advice=f"{found.advice}; {advice}" if found.advice else advice)
        return
    yield Finding("ok", "connection", f"first answer after {_ms(answer.elapsed_s)}, connecting included")
    yield judge_clock(answer.skew_s)
    if answer.region:
        yield Finding(
            "warning",
            "region",
            f"the bucket is in {answer.region!r}, not in {whereabouts.site.region!r}: each process asks in vain first",
            f"set AWS_REGION={answer.region} (or S3Options.region_name, region_name in file_client_args)",
        )
    if answer.error is not None and (answer.is_of_keys or answer.is_no_bucket):
        yield of_error("credentials" if answer.is_of_keys else "bucket", answer.error, probe)


def judge_clock(skew_s: float | None) -> Finding:
    """What it means that the server's clock is so far from this machine's.

    Args:
        skew_s: seconds that it is ahead; None: the server does not tell.
    """
    if skew_s is None:
        return Finding("ok", "clock", "the server does not tell its time (no Date)")
    apart_s = abs(skew_s)
    if apart_s < _RIGHT_CLOCK_S:
        return Finding("ok", "clock", "as the server's, to a few seconds")
    text = f"this machine is {_span(apart_s)} {'behind' if skew_s > 0 else 'ahead of'} the server"
    advice = "set this machine's clock (NTP)"
    if apart_s > MAX_OFFSET_S:
        return Finding("failed", "clock", f"{text}: signatures are refused", advice)
    mended = ": the server refuses that, and we sign with its time instead" if apart_s > _REFUSED_SKEW_S else ""
    return Finding("warning", "clock", f"{text}{mended}", advice)


def _of_whereabouts(found: Whereabouts) -> list[Finding]:
    site = found.site
    proxy = ", through the proxy that the environment names" if site.proxy is not None else ""
    return [
        Finding("ok", "endpoint", f"{site.endpoint.url} ({found.endpoint_source}){proxy}"),
        Finding("ok", "region", f"{site.region} ({found.region_source})"),
    ]


def _of_identity(identity: Identity | None) -> Finding:
    if identity is None:
        return Finding("ok", "credentials", "none: requests are not signed (anonymous)")
    text = f"from {identity.source}"
    if identity.key_id:
        text += f", key {identity.key_id}"
    if identity.is_temporary:
        text += ", with a session token"
    left_s = identity.expires_in_s
    if left_s is None:
        return Finding("ok", "credentials", text)
    text += f", good for {_span(left_s)}"
    if left_s > _SHORT_LIFE_S or not identity.source.startswith("SSO"):
        # Whoever handed them out is asked again in time.
        return Finding("ok", "credentials", text)
    return Finding("warning", "credentials", text, "aws sso login, before a long run")


def _of_addresses(addresses: list[str]) -> Finding:
    shown = ", ".join(addresses[:_SHOWN_ADDRESSES])
    more = len(addresses) - _SHOWN_ADDRESSES
    return Finding("ok", "addresses", f"{shown} and {more} more" if more > 0 else shown)


def _probe_of(uri: str) -> str:
    """The URI itself if it names an object, else one in the same place."""
    bucket, key = parse_uri(uri)
    return uri if key and not key.endswith("/") else f"s3://{bucket}/{key}{_ANY_KEY}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f} ms"


def _span(seconds: float) -> str:
    for unit, size_s in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} seconds"
