"""``asyncio-loader doctor``: look, and tell at once."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.doctor.access import check_reading, check_writing
from asyncio_loader.doctor.decoders import check_decoders
from asyncio_loader.doctor.findings import Finding
from asyncio_loader.doctor.machine import check_cores, check_files
from asyncio_loader.doctor.screen import Screen
from asyncio_loader.doctor.speed import check_first_byte, check_rate
from asyncio_loader.errors import ConfigError
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.router import StoreRouter, scheme_of

__all__ = ["run_doctor"]

# A person waits for it: a server that cannot be reached shall be called that in seconds, not in minutes.
_RETRY = RetryPolicy(max_attempts=3, deadline_s=15.0, first_byte_timeout_s=10.0, stall_timeout_s=10.0)


def run_doctor(arguments: argparse.Namespace) -> bool:
    """Look at everything, a line each on standard output.

    Args:
        arguments: those of `arguments.add_arguments`.

    Returns:
        Whether nothing failed; warnings are none.

    Raises:
        ConfigError: the URI, or an option, is none.

    What goes wrong on the way is a line, not an error. However it ends, connections are closed then, and an object that
    was put has been deleted, or the line says that it could not be.
    """
    place = _read_place(arguments)
    screen = Screen(sys.stdout)
    screen.say(place.uri)
    for about_machine in _look_at_machine(place):
        screen.tell(about_machine)
    loop_thread = LoopThread("doctor")
    store = StoreRouter(place.storage, timeouts=_RETRY, max_connections=place.in_flight)
    try:
        with _quiet_log():
            findings = _look(store, place)
            while (finding := loop_thread.run(_next(findings))) is not None:
                screen.tell(finding)
    finally:
        loop_thread.close(store.aclose)
    screen.sum_up()
    return not screen.has_failed


@dataclass(frozen=True, slots=True)
class _Place:
    """What is looked at, and how closely."""

    uri: str
    scheme: str
    storage: S3Options
    writes: bool
    in_flight: int
    seconds: float
    most_bytes: int


def _read_place(arguments: argparse.Namespace) -> _Place:
    scheme = scheme_of(arguments.uri)
    if scheme == "s3":
        # Whoever looks at a file needs neither this nor what it imports.
        from asyncio_loader.stores.s3.address import parse_uri

        parse_uri(arguments.uri)
    else:
        StoreRouter().store_of(arguments.uri)
    given = {
        "--endpoint-url": arguments.endpoint_url,
        "--region": arguments.region,
        "--profile": arguments.profile,
        "--anonymous": arguments.anonymous,
    }
    if scheme != "s3" and any(given.values()):
        names = ", ".join(name for name, value in given.items() if value)
        raise ConfigError(f"{names}: these are for s3:// URIs, not for {arguments.uri!r}")
    storage = S3Options(
        endpoint_url=arguments.endpoint_url,
        region_name=arguments.region,
        profile_name=arguments.profile,
        anonymous=arguments.anonymous,
    )
    most_bytes = arguments.mib << 20
    return _Place(arguments.uri, scheme, storage, arguments.write, arguments.concurrency, arguments.seconds, most_bytes)


def _look_at_machine(place: _Place) -> Iterator[Finding]:
    yield check_cores()
    yield check_files(place.in_flight)
    yield from check_decoders()


async def _look(store: StoreRouter, place: _Place) -> AsyncIterator[Finding]:
    if place.scheme == "s3":
        from asyncio_loader.doctor.service import check_service
        from asyncio_loader.stores.s3.store import S3Store

        s3 = store.store_of(place.uri)
        assert isinstance(s3, S3Store)
        async for finding in check_service(s3, place.storage, place.uri):
            yield finding
            if finding.level == "failed":
                return
    access = await check_reading(store, place.uri, _RETRY, may_be_empty=place.writes)
    for finding in access.findings:
        yield finding
    if place.writes:
        yield await _write(store, place, is_object=any(uri == place.uri for uri, _ in access.objects))
    if not access.objects:
        return
    yield await check_first_byte(store, access.objects, place.uri, seconds=place.seconds, retry=_RETRY)
    for in_flight in dict.fromkeys((1, place.in_flight)):
        yield await check_rate(
            store,
            access.objects,
            place.uri,
            in_flight=in_flight,
            seconds=place.seconds,
            most_bytes=place.most_bytes,
            retry=_RETRY,
        )


async def _write(store: StoreRouter, place: _Place, *, is_object: bool) -> Finding:
    directory = place.uri.rpartition("/")[0] if is_object else place.uri.removesuffix("/")
    if place.scheme == "file":
        directory = directory.removeprefix("file://") or "."
        if not await asyncio.to_thread(os.path.isdir, directory):
            # The store would make it.
            return Finding("failed", "put", f"{directory} is no directory", "make it, or name another")
    return await check_writing(store, f"{directory}/")


async def _next(findings: AsyncIterator[Finding]) -> Finding | None:
    return await anext(findings, None)


@contextlib.contextmanager
def _quiet_log() -> Iterator[None]:
    """What the stores warn of has a line of its own here."""
    log = logging.getLogger("asyncio_loader")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
