"""``asyncio-loader doctor`` as its user sees it: on a terminal of 40 columns, against a server that verifies."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from asyncio_loader.testing.servers import RcloneServer

_COLOURS = re.compile("\x1b\\[[0-9;]*m")


def run_on_terminal(columns: int, *arguments: str) -> tuple[int, str]:
    """Exit code, and what stands on the terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "asyncio_loader", "doctor", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
    )
    os.close(theirs)
    pieces = []
    # Linux tells the end of a terminal that nobody writes to any more by an error.
    while piece := _read(ours):
        pieces.append(piece)
    os.close(ours)
    return process.wait(), b"".join(pieces).decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


def test_a_narrow_terminal_shows_all_of_it(rclone_environ: RcloneServer, tmp_path: Path) -> None:
    code, shown = run_on_terminal(40, "s3://no-bucket-of-that-name/train2017/", "--seconds", "0.1")

    assert code == 1
    lines = _COLOURS.sub("", shown).splitlines()
    assert max(map(len, lines)) <= 40
    assert "Traceback" not in shown
    words = " ".join(" ".join(lines).split())
    assert "failed bucket: no such bucket (HTTP 404 NoSuchBucket) → look at the URI" in words
    assert lines[-1] == "1 failed"
    assert "\x1b[31mfailed" in shown
