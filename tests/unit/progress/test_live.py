"""On pseudo-terminals: what a person sees."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncio_loader.bridge.ticker import Ticker
from asyncio_loader.datasets import loader as loader_module
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.progress.board import Board
from asyncio_loader.progress.live import LiveOutput
from asyncio_loader.progress.modes import Mode, choose_mode
from asyncio_loader.progress.output import open_output
from asyncio_loader.stores.memory import MemoryStore
from tests.unit.progress.lines import Named
from tests.unit.progress.terminal import Pty

URIS = [f"memory://{n}" for n in range(128)]


@pytest.fixture(autouse=True)
def _no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "CI", "ASYNCIO_LOADER_PROGRESS", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def board_on(pty: Pty) -> Board:
    """Which is refreshed by hand alone: its ticker has an hour."""
    return Board(lambda: open_output(choose_mode(pty.stream), pty.stream), lambda tick: Ticker(tick, 3600))


def small_loader() -> Loader:
    return Loader(AsyncIterableDataset(URIS, storage=MemoryStore(dict.fromkeys(URIS, b"x"))), 16, progress=True)


def iterate(pty: Pty, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """A loader on it: the screen in the middle of an epoch, and at its end."""
    board = board_on(pty)
    monkeypatch.setattr(loader_module, "process_board", lambda: board)
    dataset = AsyncIterableDataset(URIS, storage=MemoryStore(dict.fromkeys(URIS, b"x" * 100_000)))
    with Loader(dataset, 16, progress="train") as loader:
        for number, _ in enumerate(loader):
            if number == 4:
                board.refresh()
                pty.read(10)
                middle = list(pty.screen.lines)
    pty.read(10)
    return middle, pty.screen.lines


def test_a_loader_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    with Pty(80) as pty:
        middle, end = iterate(pty, monkeypatch)

    assert middle[0].startswith("train, epoch 0  80/128  62%  [###########-------]  ")
    assert "img/s  ETA 0:0" in middle[0]
    assert middle[1].split("  ")[1].startswith("in flight ")
    assert [field.split(" ")[0] for field in middle[1].split("  ")][2:4] == ["buffer", "wait"]
    assert middle[1].endswith("too early to tell")
    assert len(middle) == 2
    assert max(map(len, middle)) < 80
    assert "128/128 in 0:0" in end[0]
    assert len(end[0]) < 80
    assert end[1:] == [""] * (len(end) - 1)


def test_a_loader_at_40_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    with Pty(40) as pty:
        middle, end = iterate(pty, monkeypatch)

    assert middle[0].startswith("train")
    assert "62%" in middle[0]
    assert "buffer" not in middle[1]
    assert len(middle) == 2
    assert max(map(len, middle)) < 40
    assert "128/128 in 0:0" in end[0]
    assert end[1:] == [""] * (len(end) - 1)


def test_the_line_has_gone_after_a_break_and_the_cursor_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with Pty(80) as pty:
        board = board_on(pty)
        monkeypatch.setattr(loader_module, "process_board", lambda: board)
        with Loader(
            AsyncIterableDataset(URIS, storage=MemoryStore(dict.fromkeys(URIS, b"x"))), 16, progress=True
        ) as it:
            for _ in it:
                board.refresh()
                break
            pty.read(10)

    assert pty.screen.lines[0].startswith("epoch 0  16/128 in 0:0")
    assert (pty.screen.column, pty.screen.has_cursor, pty.screen.modes) == (0, True, set())
    assert set(pty.screen.lines[1:]) == {""}


def test_an_iteration_that_is_kept_ends_with_its_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    with Pty(80) as pty:
        board = board_on(pty)
        monkeypatch.setattr(loader_module, "process_board", lambda: board)
        loader = small_loader()
        kept = iter(loader)
        next(kept)
        loader.close()
        pty.read(10)

    assert pty.screen.lines[0].startswith("epoch 0  16/128 in 0:0")
    assert pty.screen.column == 0


def test_other_ranks_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with Pty(80) as pty:
        board = board_on(pty)
        monkeypatch.setattr(loader_module, "process_board", lambda: board)
        with Loader(
            AsyncIterableDataset(URIS, storage=MemoryStore(dict.fromkeys(URIS, b"x"))), 16, progress=True
        ) as it:
            assert len(list(it)) == 8
        pty.read()

    assert pty.text == ""


def test_several_lines_stand_below_each_other() -> None:
    with Pty(80) as pty:
        board = board_on(pty)
        first, second = board.show(Named("a", rows=2)), board.show(Named("b"))
        board.refresh()
        pty.read(10)
        both = list(pty.screen.lines)
        first.close()
        board.refresh()
        pty.read(10)
        one = list(pty.screen.lines)
        second.close()
        pty.read(10)

    assert both == ["a row 0", "a row 1", "b row 0"]
    assert [line for line in one if line] == ["a went", "b row 0"]
    assert [line for line in pty.screen.lines if line] == ["a went", "b went"]


@pytest.mark.parametrize("columns", [0, 1, 2, 7])
def test_a_terminal_of_no_width_is_no_trouble(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with Pty(columns) as pty:
        middle, _ = iterate(pty, monkeypatch)

    assert max(map(len, middle)) <= max(1, (columns or 80) - 1)


def test_a_terminal_that_is_not_utf_8_gets_question_marks() -> None:
    with Pty(80) as pty, open(pty.slave, "w", encoding="ascii", closefd=False) as stream:
        output = LiveOutput(stream)
        output.refresh([Named("Füße")])
        output.end(Named("Füße"))
        output.close()
        pty.read(10)

    assert pty.screen.lines[0] == "F??e went"


@pytest.mark.parametrize("term", [None, "dumb"])
def test_a_terminal_that_moves_no_cursor_gets_plain_lines(term: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if term is None:
        monkeypatch.delenv("TERM")
    else:
        monkeypatch.setenv("TERM", term)
    with Pty(80) as pty:
        assert choose_mode(pty.stream) is Mode.PLAIN
        board = board_on(pty)
        with board.show(Named("a")):
            board.refresh()
        pty.read(10)

    assert pty.text == "a went\r\n"


def test_a_forked_child_gets_its_streams_back_and_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with Pty(80) as pty:
        monkeypatch.setattr(sys, "stdout", pty.stream)
        output = LiveOutput(pty.stream)
        output.refresh([Named("a")])
        pty.read(10)
        diverted = sys.stdout
        output.forget()

        assert diverted is not pty.stream
        assert sys.stdout is pty.stream
        assert pty.read() == ""
        output.close()


PROGRAM = """
import logging, signal, sys
# It may be ignored: a shell does that for jobs in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
logging.basicConfig(format="log: %(message)s")
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.progress import process_board
from asyncio_loader.stores.memory import MemoryStore
uris = [f"memory://{n}" for n in range(128)]
loader = Loader(AsyncIterableDataset(uris, storage=MemoryStore(dict.fromkeys(uris, b"x" * 1000))), 16, progress="train")
kept = iter(loader)
for number, batch in enumerate(kept):
    process_board().refresh()
    print("printed", number)
    print("an error", file=sys.stderr)
    logging.warning("warned")
    if number == 1:
        # From here on nothing is being written: rich writes a line twice that is interrupted.
        open(sys.argv[1], "w").close()
        ACT
"""


@pytest.mark.parametrize(
    ("act", "code", "last"),
    [
        ("raise RuntimeError('boom')", 1, "RuntimeError: boom"),
        ("signal.pause()", -signal.SIGINT, "KeyboardInterrupt"),
    ],
)
def test_however_a_program_ends_its_terminal_is_clean(act: str, code: int, last: str, tmp_path: Path) -> None:
    """With an iteration that its traceback keeps alive: the exit clears the board. What it wrote is all there."""
    with Pty(80) as pty:
        program = PROGRAM.replace("ACT", act)
        child = pty.run([sys.executable, "-c", program, str(tmp_path / "written")], os.environ)
        try:
            _read_until(pty, (tmp_path / "written").exists)
            if "signal" in act:
                child.send_signal(signal.SIGINT)
            _read_until(pty, lambda: child.poll() is not None)
        finally:
            child.kill()
            child.wait()
        pty.read()

    lines = [line for line in pty.screen.lines if line]
    assert child.returncode == code
    assert lines[:6] == ["printed 0", "an error", "log: warned", "printed 1", "an error", "log: warned"]
    assert lines[6] == "Traceback (most recent call last):"
    assert lines[-1] == last
    assert (pty.screen.column, pty.screen.has_cursor, pty.screen.modes) == (0, True, set())


def _read_until(pty: Pty, is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline_s, pty.text
        pty.read(0.1)
