"""Who serves the objects of the GETs: nginx, which costs little and speaks TLS; where it is missing, the simulator."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asyncio_loader.testing import S3Simulator
from bench.peers.tasks import BUCKET, REGION

__all__ = ["ObjectServer", "find_nginx", "serve"]

_START_S = 10.0
_STOP_S = 10.0
_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1
# In memory where there is such a place, so that no disk is measured.
_SHARED_MEMORY = Path("/dev/shm")

_CONFIG = """
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/error.log;
{user}
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    default_type binary/octet-stream;
    keepalive_requests 1000000000;
    keepalive_timeout 600;
    open_file_cache max=8192 inactive=600s;
    open_file_cache_valid 600s;
    client_body_temp_path {directory}/t1;
    proxy_temp_path {directory}/t2;
    fastcgi_temp_path {directory}/t3;
    uwsgi_temp_path {directory}/t4;
    scgi_temp_path {directory}/t5;
    server {{
        listen 127.0.0.1:{http_port} backlog=2048;
        {tls}
        root {directory}/objects;
    }}
}}
"""
_TLS = """
        listen 127.0.0.1:{port} ssl backlog=2048;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server.pem;
        ssl_session_cache shared:tls:10m;
        ssl_buffer_size 16k;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectServer:
    """A server that runs.

    Attributes:
        name: what it is, for the title of a table.
        http_url: its endpoint.
        https_url: the one with TLS; None where there is none.
        ca_bundle: PEM file of the authority that made its certificate.
        environ: credentials and region for its clients. No endpoint: each client is told.
        no_tls: why there is no https.
    """

    name: str
    http_url: str
    https_url: str | None = None
    ca_bundle: str | None = None
    environ: dict[str, str]
    no_tls: str = ""


def find_nginx() -> str | None:
    """Its path; Debian has it where a user's PATH does not look."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def serve(objects: Iterable[tuple[str, bytes]], *, tls: bool) -> Iterator[ObjectServer]:
    """Serve keys and bytes as long as a block lasts."""
    nginx = find_nginx()
    if nginx is None:
        with S3Simulator(objects) as simulator:
            yield ObjectServer(
                name="S3Simulator (no nginx here)",
                http_url=simulator.endpoint_url,
                environ=_ENVIRON,
                no_tls="the simulator has no TLS, and there is no nginx here",
            )
        return
    place = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bench-nginx-", dir=place) as name:
        directory = Path(name)
        directory.chmod(0o755)
        _write_objects(directory / "objects" / BUCKET, objects)
        no_tls = _make_certificate(directory) if tls else "it was not asked for (--tls)"
        with _run_nginx(nginx, directory, tls=not no_tls) as (http_port, https_port):
            yield ObjectServer(
                name=_version(nginx),
                http_url=f"http://127.0.0.1:{http_port}",
                https_url=None if no_tls else f"https://127.0.0.1:{https_port}",
                ca_bundle=None if no_tls else str(directory / "ca.pem"),
                environ=_ENVIRON,
                no_tls=no_tls,
            )


_ENVIRON = {
    "AWS_ACCESS_KEY_ID": "benchkeyid",
    "AWS_SECRET_ACCESS_KEY": "benchsecret",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def _write_objects(bucket: Path, objects: Iterable[tuple[str, bytes]]) -> None:
    for key, body in objects:
        path = bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def _make_certificate(directory: Path) -> str:
    """An authority and a certificate of it for 127.0.0.1 and localhost; else the reason why not."""
    try:
        import trustme
    except ImportError:
        return "trustme is not installed, which makes the certificate"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
        str(directory / "server.pem")
    )
    return ""


@contextmanager
def _run_nginx(nginx: str, directory: Path, *, tls: bool) -> Iterator[tuple[int, int]]:
    http_port, https_port = _free_ports()
    config = _CONFIG.format(
        directory=directory,
        http_port=http_port,
        tls=_TLS.format(directory=directory, port=https_port) if tls else "",
        # Its workers would be somebody else otherwise, who may not read the objects.
        user=f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else "",
    )
    (directory / "nginx.conf").write_text(config, encoding="utf-8")
    process = subprocess.Popen(
        [nginx, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    try:
        _wait_until_it_listens(process, http_port, directory / "error.log")
        yield http_port, https_port
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _end_with_parent() -> None:
    """In the child: whatever ends this process, nginx gets SIGTERM with it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_ports() -> tuple[int, int]:
    # nginx cannot say which port it was given, so that another process may take one of these meanwhile: it fails then.
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
            raise RuntimeError(f"nginx did not start: {lines[-1] if lines else 'it said nothing'}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except ConnectionRefusedError:
            time.sleep(_POLL_S)
        else:
            return
    raise RuntimeError(f"nginx did not listen within {_START_S:.0f} s")


def _version(nginx: str) -> str:
    # "nginx version: nginx/1.22.1", on the standard error.
    done = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False)
    return done.stderr.strip().rpartition(" ")[2] or "nginx"
