"""Secrets that show: a plugin that looks for the tests' credentials wherever a user could come upon them.

Looked at are, as they come, every log record, warning, error of ours and everything printed, for the secrets that the
test in question gave to a store in this process, and for `MARK`, which the servers' secret keys contain. At the end of
the run, for `MARK`, all files that the tests left: logs, quarantine files, pickles, checkpoints. A finding fails it.
"""

from __future__ import annotations

import logging
import os
import stat
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.errors import LoaderError
from asyncio_loader.stores.s3.sigv4 import Keys

__all__ = ["MARK", "SCAN", "SecretScan", "install"]

MARK = "NeverShown7Q2x"
"""Part of a secret of a test that files are scanned for."""

# Shorter ones ("x", "secret") are words of their own.
_LEAST_LENGTH = 8

# Of a file larger than this, its two halves: its head and its tail. Checkpoints have their words in the tail.
_MOST_BYTES = 32 << 20


SCAN = pytest.StashKey["SecretScan"]()
"""The scan of a run, in `pytest.Config.stash`."""


class SecretScan(logging.Handler):
    """See the module. As a handler of the root logger it is called from all threads.

    Args:
        mark: what to look for in any case.

    Attributes:
        findings: one line for each, without the secret.
        folder: what tests write is below it; None: not known.
    """

    def __init__(self, mark: str = MARK) -> None:
        super().__init__()
        self.findings: list[str] = []
        self._mark = mark
        self._secrets = {mark}
        self.folder: Path | None = None
        self._undo: list[Callable[[], None]] = []

    def learn(self, secret: str | None) -> None:
        """Look for this one, too, until the next test."""
        if secret is not None and len(secret) >= _LEAST_LENGTH:
            self._secrets.add(secret)

    def look(self, where: str, text: str) -> None:
        """Look at a text."""
        for secret in tuple(self._secrets):
            place = text.find(secret)
            if place >= 0:
                test = os.environ.get("PYTEST_CURRENT_TEST", "no test")
                around = text[max(0, place - 60) : place].splitlines()[-1:]
                self.findings.append(f"{where} of {test}: {''.join(around)}<secret>")

    def look_at_files(self, folder: Path) -> None:
        """Look at all that is below a folder."""
        for path in _files(folder):
            if any(self._mark.encode() in part for part in _parts(path)):
                self.findings.append(f"file {path}")

    def emit(self, record: logging.LogRecord) -> None:
        self.look(f"log {record.name}", record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            self.look(f"log {record.name}", "".join(traceback.format_exception(record.exc_info[1])))

    def watch(self) -> None:
        """Begin: secrets are learnt where they reach a store, errors are looked at where they are made."""
        scan = self
        make_keys = Keys.__init__

        def learning(keys: Keys, key_id: str, secret: str, token: str | None = None) -> None:
            scan.learn(secret)
            scan.learn(token)
            make_keys(keys, key_id, secret, token)

        def looking(error: LoaderError, *args: Any) -> None:
            scan.look(f"error {type(error).__name__}", " ".join(map(str, args)))
            super(LoaderError, error).__init__(*args)

        Keys.__init__ = learning  # type: ignore[method-assign]
        LoaderError.__init__ = looking  # type: ignore[method-assign]
        logging.getLogger().addHandler(self)
        self._undo = [
            lambda: setattr(Keys, "__init__", make_keys),
            # It has none of its own.
            lambda: delattr(LoaderError, "__init__"),
            lambda: logging.getLogger().removeHandler(self),
        ]

    def rest(self) -> None:
        """End what `watch` began."""
        while self._undo:
            self._undo.pop()()

    # pytest's hooks

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        self._secrets = {self._mark}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, text in report.sections:
            self.look(name, text)

    def pytest_warning_recorded(self, warning_message: Any) -> None:
        self.look("warning", str(warning_message.message))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.rest()
        started_s = time.perf_counter()
        if self.folder is not None:
            self.look_at_files(self.folder)
        self.took_s = time.perf_counter() - started_s
        if self.findings:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.findings:
            terminalreporter.section("secrets that show", red=True)
            for line in dict.fromkeys(self.findings):
                terminalreporter.line(line)


def install(config: pytest.Config) -> None:
    """Scan this run."""
    scan = SecretScan()
    config.pluginmanager.register(scan)
    config.stash[SCAN] = scan
    scan.watch()


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def _parts(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        yield file.read(_MOST_BYTES // 2)
        size = os.fstat(file.fileno()).st_size
        if size > _MOST_BYTES // 2:
            # Overlapping, lest a secret lie on the border of a file of less than the most.
            file.seek(max(_MOST_BYTES // 2 - len(MARK), size - _MOST_BYTES // 2))
            yield file.read()
