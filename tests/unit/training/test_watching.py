from __future__ import annotations

import contextlib
import io
import logging
import sys

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.progress import transferring
from asyncio_loader.training import watching
from asyncio_loader.training.distributed import Ranks
from asyncio_loader.training.watching import open_watch


def shows_transfers() -> bool:
    file = io.BytesIO()
    with transferring("upload", "a.pth") as counted:
        return counted(file) is not file


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCIO_LOADER_PROGRESS", "plain")


def test_it_is_asked_for() -> None:
    with contextlib.ExitStack() as stack:
        watch = open_watch(True, Ranks(), stack)
        assert watch.line_of("val") == "val"
        assert shows_transfers()

    assert not shows_transfers()


@pytest.mark.parametrize(("is_live", "line"), [(True, "train"), (False, False)])
def test_by_itself_it_is_for_terminals(is_live: bool, line: str | bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "can_be_live", lambda: is_live)
    with contextlib.ExitStack() as stack:
        assert open_watch(None, Ranks(), stack).line_of("train") == line
        assert shows_transfers() is is_live


def test_an_environment_that_is_wrong_is_told_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCIO_LOADER_PROGRESS", "loud")
    with contextlib.ExitStack() as stack, pytest.raises(ConfigError, match="ASYNCIO_LOADER_PROGRESS='loud'"):
        open_watch(None, Ranks(), stack)


@pytest.mark.parametrize(("is_on", "where"), [(True, "later"), (False, "first")])
def test_log_lines_go_where_the_stream_is_at_the_time(is_on: bool, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = {"first": io.StringIO(), "later": io.StringIO()}
    monkeypatch.setattr(sys, "stdout", streams["first"])
    logger = logging.Logger("run")
    logger.addHandler(logging.StreamHandler(sys.stdout))
    with contextlib.ExitStack() as stack:
        open_watch(is_on, Ranks(), stack).keep_whole(logger.handlers, stack)
        monkeypatch.setattr(sys, "stdout", streams["later"])
        logger.warning("a line")

    assert [name for name, stream in streams.items() if stream.getvalue() == "a line\n"] == [where]
