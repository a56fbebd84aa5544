from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from asyncio_loader import cli

_LINE = re.compile(r"(ok|warning|failed) +([^:]+): (.*?)(?: → (.*))?")


@dataclass(frozen=True)
class Told:
    """What ``asyncio-loader doctor`` said, where there is no terminal.

    Attributes:
        code: the exit code.
        lines: (level, text, advice) by name, in order; of a name that came twice the last one.
        out: all of it.
    """

    code: int
    lines: dict[str, tuple[str, str, str]]
    out: str

    @property
    def trouble(self) -> dict[str, str]:
        """The levels of all that is not ok."""
        return {name: level for name, (level, _, _) in self.lines.items() if level != "ok"}


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Run it in this process."""

    def run(*arguments: str) -> Told:
        code = cli.main(["doctor", "--seconds", "0.05", "--concurrency", "4", *arguments])
        printed = capsys.readouterr()
        assert printed.err == ""
        matches = [_LINE.fullmatch(line) for line in printed.out.splitlines()]
        lines = {match[2]: (match[1], match[3], match[4] or "") for match in matches if match}
        # All but the URI and the sum.
        assert sum(match is not None for match in matches) == len(matches) - 2
        return Told(code, lines, printed.out)

    return run
