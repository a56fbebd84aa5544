"""A line below everything: the figure of the lifecycle matrix."""

from __future__ import annotations

import pytest

SUMMARY: pytest.StashKey[str] = pytest.StashKey()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (line := config.stash.get(SUMMARY, None)) is not None:
        terminalreporter.write_line(line)
