"""The simulator as its user sees it: started, asked for its log, ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote

import asyncio_loader
from asyncio_loader.errors import ConfigError, LoaderError
from asyncio_loader.testing.simulator.checksums import Checksum, choose_checksum
from asyncio_loader.testing.simulator.control import FIGURES_PATH, LOG_PATH, SETTINGS_PATH
from asyncio_loader.testing.simulator.faults import Fault
from asyncio_loader.testing.simulator.latency import Latency
from asyncio_loader.testing.simulator.log import RequestLog, RequestRecord, SimulatorFigures
from asyncio_loader.testing.simulator.settings import ServerSettings
from asyncio_loader.testing.simulator.spool import Objects, write_spool
from asyncio_loader.testing.simulator.throttle import Throttle
from asyncio_loader.testing.simulator.tls import AUTHORITY_FILE, write_authority

__all__ = ["S3Simulator"]

# "Bucket naming rules", Amazon S3 user guide.
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CONTROL_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 10.0


class S3Simulator:
    """Serves objects as S3 does, over HTTP/1.1 on loopback, from a process of its own. A context manager.

    It answers GET and HEAD of objects (whole or a range), HEAD of the bucket and ListObjectsV2; anything else is
    405. Bucket and key stand in the path, or the bucket in the Host header. Signatures are not looked at.

    It works from scripts without a main guard, notebooks and pytest, and ends with the process that made it, however
    that ends. The server's objects are mapped from a temporary file that has no name any more once it runs: `TMPDIR`
    needs room for the distinct ones, and they should fit into the machine's memory.

    Args:
        objects: a directory (keys are the paths of its files relative to it), or a mapping or iterable of key and
            bytes. An iterable is consumed at the start. Equal bytes under several keys are held once.
        median_s: median of the first-byte latency of a request, in seconds; see `Latency` for this and the next.
        p99_s: 99th percentile of it. None: every request takes the median.
        slow_fraction: share of the requests, 0 to 1, that take `slow_s` instead.
        slow_s: seconds.
        faults: what goes wrong; see `Fault`. The first that meets a request wins.
        throttle: requests per second that it takes; see `Throttle`. Of several each has its say.
        bandwidth_bytes_s: bytes of bodies per second that all connections get together. None: no limit.
        checksum: what S3 keeps beside each object and sends with all of it where a request asks
            (``x-amz-checksum-mode``): ``crc32``, ``crc32c``, ``crc64nvme``, ``sha1``, ``sha256`` or None. ``"auto"``:
            ``crc64nvme``, S3's own default, where the package `awscrt` is there, which makes this one and ``crc32c``;
            else ``crc32``.
        clock_offset_s: seconds that the server's clock is ahead of the machine's, in its Date header; a request that
            was signed more than 15 minutes from it is answered 403 RequestTimeTooSkewed. None: 0, and nothing is
            refused.
        tls: speak TLS, with a certificate for `host` and ``s3.test`` by an authority of its own: see
            `ca_bundle`. Needs the package `trustme`.
        host: a loopback address to listen on: ``127.0.0.2`` and all others of ``127.0.0.0/8`` are there on Linux.
        port: 0: one that is free.
        seed: latency and faults of a request are a function of it, the key, and the number of the request among
            those of the key. The same run meets the same weather, whatever the order of arrival.
        bucket: name of the bucket.

    Raises:
        ConfigError: an argument is wrong; about `objects` at the start.

    Not safe to use from several threads at once; any number of clients may be connected.
    """

    def __init__(
        self,
        objects: Objects,
        *,
        median_s: float = 0.0,
        p99_s: float | None = None,
        slow_fraction: float = 0.0,
        slow_s: float = 1.0,
        faults: Sequence[Fault] | None = None,
        throttle: Throttle | Sequence[Throttle] | None = None,
        bandwidth_bytes_s: float | None = None,
        checksum: Checksum | Literal["auto"] | None = "auto",
        clock_offset_s: float | None = None,
        seed: int = 0,
        bucket: str = "bucket",
        tls: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        if not _BUCKET_NAME.fullmatch(bucket):
            raise ConfigError(f"S3Simulator: bucket must be a bucket name as S3 allows it, not {bucket!r}")
        latency = Latency(median_s=median_s, p99_s=p99_s, slow_fraction=slow_fraction, slow_s=slow_s, seed=seed)
        self.bucket = bucket
        self._objects = objects
        self._settings = ServerSettings(
            bucket=bucket,
            latency=latency,
            faults=tuple(faults or ()),
            throttles=_throttles(throttle),
            bandwidth_bytes_s=bandwidth_bytes_s,
            checksum=choose_checksum(checksum),
            clock_offset_s=clock_offset_s,
            seed=seed,
            host=host,
            port=port,
        )
        self._has_tls = tls
        self._authority: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._port = self._control_port = 0

    def __enter__(self) -> S3Simulator:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the server; it is ready when this returns. What ``with`` does.

        Raises:
            ConfigError: see the class; or it runs already.
            LoaderError: the process did not start; the last line of its output is in the message, all of it a note.
        """
        if self._process is not None:
            raise ConfigError("S3Simulator: it has been started before; make another one")
        with contextlib.ExitStack() as undo, tempfile.TemporaryDirectory(prefix="s3-simulator-") as name:
            directory = Path(name)
            write_spool(directory, self._objects)
            (directory / "settings").write_text(self._settings.dump(), encoding="utf-8")
            if self._has_tls:
                write_authority(directory, self._settings.host)
            with (directory / "stderr").open("w+", encoding="utf-8", errors="replace") as stderr:
                self._process = _spawn(directory, stderr.fileno())
                undo.callback(self.close)
                assert self._process.stdout is not None
                ports = self._process.stdout.readline().split()
                if not ports:
                    stderr.seek(0)
                    raise _startup_error(stderr.read().strip())
            self._port, self._control_port = map(int, ports)
            if self._has_tls:
                self._authority = tempfile.TemporaryDirectory(prefix="s3-simulator-")
                shutil.copy(directory / AUTHORITY_FILE, self._authority.name)
            undo.pop_all()

    def close(self) -> None:
        """End the server, and every connection with it. Idempotent."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.kill()
        process.wait(_END_TIMEOUT_S)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        if self._authority is not None:
            self._authority.cleanup()

    @property
    def endpoint_url(self) -> str:
        """``http://127.0.0.1:port``, for `S3Options.endpoint_url`; https with TLS."""
        return f"{'https' if self._has_tls else 'http'}://{self._settings.host}:{self.port}"

    @property
    def port(self) -> int:
        """Where it listens."""
        self._check_running()
        return self._port

    @property
    def ca_bundle(self) -> str:
        """PEM file of the authority to trust, for `S3Options.ca_bundle`; it is there until the end.

        Raises:
            ConfigError: there is none, without TLS.
        """
        self._check_running()
        if self._authority is None:
            raise ConfigError("S3Simulator: it has an authority only with tls=True")
        return os.path.join(self._authority.name, AUTHORITY_FILE)

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables that make an AWS client talk to it: endpoint, region, and credentials of no worth."""
        return {
            "AWS_ACCESS_KEY_ID": "simulator",
            # Recognisable, as that of the other servers.
            "AWS_SECRET_ACCESS_KEY": "simulatorsecretNeverShown7Q2x",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
        }

    @property
    def pid(self) -> int:
        """Process id of the server, for measuring what it costs."""
        self._check_running()
        assert self._process is not None
        return self._process.pid

    def uri(self, key: str) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self.bucket}/{key}"

    def url(self, key: str) -> str:
        """Where a plain HTTP client finds the object."""
        return f"{self.endpoint_url}/{self.bucket}/{quote(key)}"

    def requests(self, *, clear: bool = False) -> list[RequestRecord]:
        """The log: the last million requests, in the order in which they were answered; `clear` empties it."""
        return RequestLog.load(self._control("DELETE" if clear else "GET", LOG_PATH))

    def figures(self) -> SimulatorFigures:
        """Sums since the start: cheap enough to be asked for many times a second, unlike the log."""
        return SimulatorFigures(**json.loads(self._control("GET", FIGURES_PATH)))

    def set_throttle(self, throttle: Throttle | Sequence[Throttle] | None) -> None:
        """Another limit from now on, its buckets full; None: no limit."""
        self._change(throttles=_throttles(throttle))

    def set_bandwidth(self, bytes_s: float | None) -> None:
        """Another bandwidth from now on; None: no limit."""
        self._change(bandwidth_bytes_s=bytes_s)

    def set_faults(self, faults: Sequence[Fault]) -> None:
        """Other faults from now on, and the requests of each key numbered from 0 again, as after a start."""
        self._change(faults=tuple(faults))

    def _change(self, **fields: Any) -> None:
        settings = replace(self._settings, **fields)
        self._control("PUT", f"{SETTINGS_PATH}?{quote(settings.dump_changes(*fields))}")
        self._settings = settings

    def _control(self, method: str, target: str) -> bytes:
        self._check_running()
        connection = http.client.HTTPConnection("127.0.0.1", self._control_port, timeout=_CONTROL_TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request(method, target)
            answer = connection.getresponse()
            body = answer.read()
        if answer.status != 200:
            raise LoaderError(f"S3Simulator: {method} {target[:200]}: HTTP {answer.status}")
        return body

    def _check_running(self) -> None:
        if self._process is None or self._process.returncode is not None:
            raise ConfigError("S3Simulator: it is not running; use it in a `with` block")


def _throttles(throttle: Throttle | Sequence[Throttle] | None) -> tuple[Throttle, ...]:
    if throttle is None:
        return ()
    return (throttle,) if isinstance(throttle, Throttle) else tuple(throttle)


def _spawn(directory: Path, stderr: int) -> subprocess.Popen[str]:
    # The process shall find this very package, installed or not, and nothing that lies in the working directory (-P).
    root = str(Path(asyncio_loader.__file__).parent.parent)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, "-P", "-m", __package__, str(directory), str(os.getpid())]
    # In a session of its own a Ctrl-C in the terminal does not reach it: its parent decides when it ends.
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environ,
        text=True,
        start_new_session=True,
    )


def _startup_error(output: str) -> LoaderError:
    error = LoaderError(f"S3Simulator: the server did not start: {output.splitlines()[-1] if output else 'no output'}")
    error.add_note(output)
    return error
