"""The scan for secrets finds them, wherever they show."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncio_loader.errors import AccessDenied, ConfigError
from asyncio_loader.stores.s3.sigv4 import Keys
from tests import leaks
from tests.leaks import SecretScan

ROOT = Path(__file__).parents[2]

# Not the one that the scan of this very run looks for.
MARK = "OnlyShownHere"


@pytest.fixture
def scan() -> Iterator[SecretScan]:
    """One of its own; that of the run must hear nothing of what is shown to it."""
    (of_the_run,) = [handler for handler in logging.getLogger().handlers if isinstance(handler, SecretScan)]
    of_the_run.rest()
    scan = SecretScan(MARK)
    scan.watch()
    yield scan
    scan.rest()
    of_the_run.watch()


def test_what_is_no_secret_is_not_found(scan: SecretScan, tmp_path: Path) -> None:
    Keys("a-public-id", "a-long-secret", "a-long-token")
    (tmp_path / "log").write_text("all is well")

    logging.getLogger("some").error("a-public-id is refused")
    ConfigError("a-public-id is refused")
    scan.look_at_files(tmp_path)

    assert scan.findings == []


@pytest.mark.parametrize("secret", ["a-long-secret", "a-long-token", MARK])
def test_logs_are_looked_at(scan: SecretScan, secret: str) -> None:
    Keys("id", "a-long-secret", "a-long-token")

    logging.getLogger("some").warning("got %s", secret)

    (finding,) = scan.findings
    assert finding.startswith("log some of ")
    assert finding.endswith(": got <secret>")


def test_so_are_the_errors_of_logs(scan: SecretScan) -> None:
    logging.getLogger("some").error("oh", exc_info=LookupError(MARK))

    assert len(scan.findings) == 1


@pytest.mark.parametrize("kind", [ConfigError, AccessDenied])
def test_errors_of_ours_are_looked_at_where_they_are_made(scan: SecretScan, kind: type[Exception]) -> None:
    error = kind(f"{MARK} is refused")

    assert error.args == (f"{MARK} is refused",)
    assert [finding.partition(" of ")[0] for finding in scan.findings] == [f"error {kind.__name__}"]


@pytest.mark.parametrize("place", [0, 10_000_000, 100_000_000])
def test_files_are_looked_at_from_either_end(scan: SecretScan, tmp_path: Path, place: int) -> None:
    path = tmp_path / "deep" / "down"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(100_000_020)
        file.seek(place)
        file.write(MARK.encode())
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    scan.look_at_files(tmp_path)

    assert scan.findings == [f"file {path}"]


def test_what_a_test_gave_to_a_store_is_forgotten_with_it(scan: SecretScan) -> None:
    Keys("id", "a-long-secret")
    scan.pytest_runtest_setup()

    logging.getLogger("some").warning("a-long-secret is a word like any other")

    assert scan.findings == []


CASES = f"""
import logging, warnings
import pytest
MARK = {leaks.MARK[:5]!r} + {leaks.MARK[5:]!r}
def test_log(): logging.getLogger("some").error(MARK)
def test_print(): print(MARK)
@pytest.mark.filterwarnings("always")
def test_warning(): warnings.warn(MARK)
def test_file(tmp_path): (tmp_path / "bad.jsonl").write_text(MARK)
def test_good(tmp_path): (tmp_path / "log").write_text("all is well")
"""


def test_a_run_that_shows_a_secret_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_cases.py").write_text(CASES)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")

    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'base'}"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    # It would be found again at the end of this run.
    for path in (tmp_path / "base").rglob("bad.jsonl"):
        path.unlink()

    assert run.returncode == 1, run.stdout
    assert "5 passed" in run.stdout
    summary = run.stdout.partition("secrets that show")[2]
    for words in ("log some of test_cases.py::test_log", "stdout", "warning", "bad.jsonl"):
        assert words in summary
    assert "test_good" not in summary
    assert leaks.MARK not in summary
