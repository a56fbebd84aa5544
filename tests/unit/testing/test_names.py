from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from asyncio_loader.testing.names import ScriptedNames, scripted_names

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


def look_up(loop: Callable[[], asyncio.AbstractEventLoop], *hosts: str) -> list[list[str]]:
    async def run() -> list[list[str]]:
        now = asyncio.get_running_loop()
        found = [await now.getaddrinfo(host, 80, type=socket.SOCK_STREAM) for host in hosts]
        return [sorted({info[4][0] for info in infos}) for infos in found]

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(run())


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_name_is_found_where_the_test_says(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with scripted_names({"s3.test": ["127.0.0.2", "127.0.0.3"]}) as names:
        assert look_up(loop, "s3.test") == [["127.0.0.2", "127.0.0.3"]]
        names.addresses["s3.test"] = ["127.0.0.4"]
        assert look_up(loop, "s3.test", "127.0.0.1") == [["127.0.0.4"], ["127.0.0.1"]]
        assert names.looked_up == ["s3.test", "s3.test"]


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_name_may_have_no_address(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with scripted_names({"s3.test": []}), pytest.raises(socket.gaierror):
        look_up(loop, "s3.test")


def test_all_is_as_before_at_the_end() -> None:
    before = asyncio.BaseEventLoop.getaddrinfo, uvloop.Loop.getaddrinfo
    with scripted_names({}):
        assert asyncio.BaseEventLoop.getaddrinfo is not before[0]

    assert (asyncio.BaseEventLoop.getaddrinfo, uvloop.Loop.getaddrinfo) == before


def test_the_callers_own_mapping_stays_as_it_is() -> None:
    given = {"s3.test": ["127.0.0.1"]}
    ScriptedNames(given).addresses["s3.test"].append("127.0.0.2")

    assert given == {"s3.test": ["127.0.0.1"]}
