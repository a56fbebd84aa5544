from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from asyncio_loader.bridge.ticker import Ticker
from asyncio_loader.errors import ConfigError
from asyncio_loader.progress import board as module
from asyncio_loader.progress.board import Board, process_board
from asyncio_loader.progress.output import Line, Output
from tests.unit.progress.lines import Named


class Notes(Output):
    """An output that keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.error: Exception | None = None

    def refresh(self, lines: Sequence[Line]) -> None:
        self._say("+".join(line.plain() for line in lines))

    def end(self, line: Line) -> None:
        self._say(line.summary())

    def close(self) -> None:
        self._say("closed")

    def forget(self) -> None:
        self.said.append("forgotten")

    def _say(self, text: str) -> None:
        if self.error is not None:
            raise self.error
        self.said.append(text)


class ByHand:
    """A ticker that nobody's clock drives."""

    def __init__(self) -> None:
        self.ticks: list[Callable[[], None]] = []

    def start(self, tick: Callable[[], None]) -> Ticker:
        self.ticks.append(tick)
        return cast("Ticker", self)

    def stop(self) -> None:
        self.ticks.clear()


def test_lines_are_shown_together_and_the_last_one_clears_the_board() -> None:
    notes, hand = Notes(), ByHand()
    board = Board(lambda: notes, hand.start)
    first = board.show(Named("a"))
    (tick,) = hand.ticks
    tick()
    second = board.show(Named("b"))
    tick()
    first.close()
    first.close()
    tick()
    second.close()

    assert notes.said == ["a goes", "a goes+b goes", "a went", "b goes", "b went", "closed"]
    assert hand.ticks == []


def test_a_board_that_was_cleared_opens_anew() -> None:
    opened: list[Notes] = []

    def opening() -> Output:
        opened.append(Notes())
        return opened[-1]

    board = Board(opening, ByHand().start)
    for _ in range(2):
        with board.show(Named("a")):
            board.refresh()

    assert [notes.said for notes in opened] == [["a goes", "a went", "closed"]] * 2


def test_a_late_tick_says_nothing() -> None:
    notes, hand = Notes(), ByHand()
    board = Board(lambda: notes, hand.start)
    shown = board.show(Named("a"))
    (tick,) = hand.ticks
    shown.close()
    tick()

    assert notes.said == ["a went", "closed"]


def test_where_nothing_is_shown_nothing_ticks() -> None:
    hand = ByHand()
    board = Board(lambda: None, hand.start)
    with board.show(Named("a")):
        assert hand.ticks == []
        board.refresh()


def test_an_environment_that_is_wrong_is_told_at_once() -> None:
    def opening() -> Output:
        raise ConfigError("no such mode")

    board = Board(opening, ByHand().start)
    with pytest.raises(ConfigError):
        board.show(Named("a"))
    board.close()


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
@pytest.mark.parametrize("fails_at", ["refresh", "end"])
def test_a_stream_that_is_gone_ends_the_showing_and_nothing_else(error: Exception, fails_at: str) -> None:
    notes = Notes()
    board = Board(lambda: notes, ByHand().start)
    shown = board.show(Named("a"))
    notes.error = error
    if fails_at == "refresh":
        board.refresh()
    shown.close()

    assert notes.said == ["forgotten"]


def test_a_mistake_is_not_swallowed() -> None:
    notes = Notes()
    board = Board(lambda: notes, ByHand().start)
    shown = board.show(Named("a"))
    notes.error = KeyError()
    with pytest.raises(KeyError):
        shown.close()


def test_a_terminal_that_was_stopped_does_not_stop_the_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ticker is held up in a write: a line that ends meanwhile goes without a word, and the board with it."""
    monkeypatch.setattr(module, "_PATIENCE_S", 0.01)
    writes, goes_on = threading.Event(), threading.Event()

    class Stopped(Notes):
        def refresh(self, lines: Sequence[Line]) -> None:
            writes.set()
            goes_on.wait(10)

    stopped = Stopped()
    board = Board(lambda: stopped, ByHand().start)
    shown = board.show(Named("a"))
    ticker = threading.Thread(target=board.refresh)
    ticker.start()
    writes.wait(10)
    shown.close()
    goes_on.set()
    ticker.join()
    board.refresh()

    assert stopped.said == ["closed"]


def test_a_forked_child_writes_nothing() -> None:
    notes = Notes()
    board = Board(lambda: notes, ByHand().start)
    shown = board.show(Named("a"))
    board.forget()
    board.refresh()
    shown.close()

    assert notes.said == ["forgotten"]


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="no fork")
def test_the_board_of_a_process_stays_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the ticker holds the lock, too."""
    monkeypatch.setenv("ASYNCIO_LOADER_PROGRESS", "plain")
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    board = process_board()
    with board.show(Named("a")) as shown:
        holds, goes_on = threading.Event(), threading.Event()

        def hold() -> None:
            with board._turn:
                holds.set()
                goes_on.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        holds.wait(10)
        pid = os.fork()
        if pid == 0:
            shown.close()
            board.refresh()
            os._exit(0 if stream.getvalue() == "" else 1)
        goes_on.set()
        holder.join()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert stream.getvalue() == "a went\n"
