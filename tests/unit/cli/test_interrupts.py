from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest


def test_sigterm_unwinds_and_is_one_line_and_143(
    train_with: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    unwound: list[str] = []

    def command(arguments: argparse.Namespace) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            # What it interrupts is unwound in peace.
            signal.raise_signal(signal.SIGTERM)
            unwound.append("whole")
        return 0

    assert train_with(command) == 143
    assert capsys.readouterr().err == "asyncio-loader: terminated\n"
    assert unwound == ["whole"]


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, lambda number, frame: None])
def test_the_handler_of_sigterm_is_put_back(train_with: Callable[..., int], handler: Any) -> None:
    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert train_with(lambda arguments: 0) == 0
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_process_that_ignores_sigterm_goes_on_doing_so(train_with: Callable[..., int]) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def command(arguments: argparse.Namespace) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    try:
        assert train_with(command) == 0
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_signals_are_left_alone(train_with: Callable[..., int]) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(train_with(lambda arguments: 0)))

    thread.start()
    thread.join()

    assert codes == [0]


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_even_a_native_call_that_takes_no_notice(number: signal.Signals, code: int, said: str) -> None:
    program = (
        "import hashlib, signal, sys\n"
        "from asyncio_loader.cli import interrupts, main, train\n"
        "def stuck(arguments):\n"
        "    for number in (signal.SIGINT, signal.SIGTERM):\n"
        # Else one that comes before the call would be taken notice of.
        "        signal.signal(number, lambda number, frame: None)\n"
        "    print('ready', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'x', b'y', 10**9)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "train.run = stuck\n"
        "sys.exit(main(['train', 'c.py']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        start_s = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (code, f"asyncio-loader: {said}\n".encode())
    # It promises 2; a busy machine may take longer to notice.
    assert time.monotonic() - start_s < 6


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("print('acted', flush=True)", ""),
        ("raise LoaderError('s3://b/x.log: the upload\\nfailed')", " (s3://b/x.log: the upload failed)"),
        ("threading.Event().wait()", " (there was no time to copy the log: it stays where it is)"),
    ],
)
def test_before_a_stuck_process_is_ended_the_log_is_copied(act: str, said: str) -> None:
    code = (
        "import hashlib, signal, sys, threading\n"
        "from asyncio_loader.cli import interrupts, main, train\n"
        "from asyncio_loader.errors import LoaderError\n"
        "def act():\n"
        f"    {act}\n"
        "def stuck(arguments):\n"
        "    arguments.before_kill(act)\n"
        "    for number in (signal.SIGINT, signal.SIGTERM):\n"
        # Else one that comes before the call would be taken notice of.
        "        signal.signal(number, lambda number, frame: None)\n"
        "    print('ready', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'x', b'y', 10**9)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "train.run, interrupts._LAST_ACTS_S = stuck, 0.2\n"
        "sys.exit(main(['train', 'c.py']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)

    assert process.returncode == 130
    assert errors.decode() == f"asyncio-loader: interrupted{said}\n"
    assert output == (b"acted\n" if "acted" in act else b"")
