"""What the pages take from the program while they are built: the help of its commands, and what a pipeline may name."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys

from asyncio_loader import TRANSFORMS

_COMMAND = re.compile(r"^    (\w[\w-]*)", re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for each page: puts what there is in the place of a comment that asks for it."""
    for comment, make in (("<!-- commands -->", help_of_commands), ("<!-- transforms -->", table_of_transforms)):
        if comment in markdown:
            markdown = markdown.replace(comment, make())
    return markdown


def help_of_commands() -> str:
    """What the program says of itself, and then each of its commands."""
    program = _help()
    commands = _COMMAND.findall(program.partition("positional arguments:")[2].partition("options:")[0])
    sections = [f"## {command}\n\n```text\n{_help(command)}```" for command in commands]
    return "\n\n".join([f"```text\n{program}```", *sections])


def _help(*command: str) -> str:
    words = [sys.executable, "-m", "asyncio_loader", *command, "--help"]
    # Of the same width wherever it is made.
    environ = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(words, env=environ, check=True, capture_output=True, text=True).stdout


def table_of_transforms() -> str:
    """Names, arguments, and the first line of what each says of itself."""
    rows = [f"| `{name}` | {_arguments(name)} | {_summary(name)} |" for name in sorted(TRANSFORMS)]
    return "\n".join(["| `type` | arguments | |", "|---|---|---|", *rows])


def _arguments(name: str) -> str:
    return ", ".join(f"`{parameter}`" for parameter in inspect.signature(TRANSFORMS.get(name)).parameters)


def _summary(name: str) -> str:
    summary, _, _ = (inspect.getdoc(TRANSFORMS.get(name)) or "").partition("\n\n")
    return " ".join(summary.replace("``", "`").replace("|", r"\|").split())
