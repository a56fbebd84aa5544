"""The public names under the type checkers that users run: mypy and pyright (as basedpyright, which needs no network).

The files beside it are what is checked; their own words say of what.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MYPY = ["mypy", "--strict"]
PYRIGHT = ["basedpyright", "--pythonpath", sys.executable]


def check(checker: list[str], path: Path) -> subprocess.CompletedProcess[str]:
    """With the settings of pyproject.toml."""
    command = [sys.executable, "-m", *checker, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize("checker", [MYPY, PYRIGHT], ids=["mypy", "pyright"])
def test_what_users_may_write_is_clean_and_what_they_may_not_is_seen(checker: list[str]) -> None:
    done = check(checker, Path(__file__).parent)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize(
    ("checker", "complaint"), [(MYPY, "[unused-ignore]"), (PYRIGHT, "(reportUnnecessaryTypeIgnore")]
)
def test_an_error_that_is_not_there_would_be_missed(checker: list[str], complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "user.py"
    path.write_text("from asyncio_loader import FetchOptions\n\nFetchOptions()  # type: ignore[call-arg]\n")

    done = check(checker, path)

    assert (done.returncode, complaint in done.stdout) == (1, True), done.stdout
