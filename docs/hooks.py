"""What the pages take from the program while they are built: the help of its commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys

HELP = re.compile(r"^<!-- help: (\w*) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for each page: ``<!-- help: train -->`` becomes what ``asyncio-loader train --help`` says."""
    return HELP.sub(lambda match: f"```text\n{help_of(match[1])}```", markdown)


def help_of(command: str) -> str:
    """The help of a command, of the whole program for ``""``; of the same width wherever it is made."""
    words = [sys.executable, "-m", "asyncio_loader", *filter(None, [command]), "--help"]
    environ = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(words, env=environ, check=True, capture_output=True, text=True).stdout
