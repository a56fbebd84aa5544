from __future__ import annotations

import io
import logging
import sys
from typing import TextIO, cast

import pytest

from asyncio_loader.progress.streams import Diversion, following


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def prefixed(stream: TextIO) -> io.TextIOBase:
    class Proxy(io.StringIO):
        def write(self, text: str) -> int:
            return stream.write(text.upper())

    return Proxy()


def put_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """In the place of both streams. No fixture: pytest sets the streams anew between that and the test."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(logging.root, "handlers", [])
    return stream


def test_prints_and_log_lines_go_another_way_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = put_terminal(monkeypatch)
    handler = logging.StreamHandler(sys.stderr)
    logging.root.handlers.append(handler)
    diversion = Diversion(prefixed)
    print("one")
    logging.getLogger("anybody").warning("two")
    diversion.end()
    print("three")
    logging.getLogger("anybody").warning("four")

    assert terminal.getvalue() == "ONE\nTWO\nthree\nfour\n"
    assert sys.stdout is sys.stderr is terminal


def test_what_goes_to_a_file_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = put_terminal(monkeypatch)
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    diversion = Diversion(prefixed)
    print("one")
    print("two", file=sys.stderr)
    diversion.end()

    assert (file.getvalue(), terminal.getvalue()) == ("one\n", "TWO\n")


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_stream_that_is_none_is_left_alone(stream: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr(sys, "stdout", gone if stream else None)
    monkeypatch.setattr(sys, "stderr", gone if stream else None)
    diversion = Diversion(prefixed)

    assert sys.stdout is (gone if stream else None)
    diversion.end()


def test_a_stream_that_was_changed_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `contextlib.redirect_stdout` around a part of it, and a handler that was given another stream."""
    terminal = put_terminal(monkeypatch)
    handler = logging.StreamHandler(sys.stderr)
    logging.root.handlers.append(handler)
    diversion = Diversion(prefixed)
    caught = io.StringIO()
    monkeypatch.setattr(sys, "stdout", caught)
    handler.setStream(caught)
    diversion.end()

    assert sys.stdout is caught
    assert handler.stream is caught
    assert cast("object", sys.stderr) is terminal


def test_handlers_follow_what_the_streams_are_at_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, other = io.StringIO(), io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", first)
    handlers = [logging.StreamHandler(sys.stdout), logging.StreamHandler(other), logging.NullHandler()]
    logger = logging.Logger("run")
    for handler in handlers:
        logger.addHandler(handler)
    with following(handlers):
        monkeypatch.setattr(sys, "stdout", second)
        logger.warning("in between")
    logger.warning("after")

    assert (first.getvalue(), second.getvalue()) == ("after\n", "in between\n")
    assert other.getvalue() == "in between\nafter\n"
