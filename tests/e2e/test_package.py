"""What is built for others to install: a wheel and a source distribution, both looked into, the wheel used."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

import asyncio_loader

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pipelines").rglob("*.py")}
READY = "faster_rcnn_r50_fpn_1x_coco_s3"


def build(source: Path, target: Path, kind: str) -> Path:
    """Build from `source` what `kind` says, into `target`. `python -m build` would fetch hatchling first."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def workshop() -> Iterator[Path]:
    """A directory that is gone afterwards: the shipped servers of tests hold keys; pytest's may not (leaks.py)."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def wheel(workshop: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(build(ROOT, workshop / "wheel", "wheel")) as archive:
        yield archive


@pytest.fixture(scope="module")
def source(workshop: Path) -> Path:
    """The source distribution, unpacked."""
    with tarfile.open(build(ROOT, workshop / "sdist", "sdist")) as archive:
        archive.extractall(workshop / "sdist", filter="data")
    return workshop / "sdist" / f"asyncio_loader-{asyncio_loader.__version__}"


def test_the_wheel_has_the_package_its_types_and_the_ready_configs_and_no_more(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())

    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"asyncio_loader"}
    assert "asyncio_loader/py.typed" in names
    assert {name for name in names if name.startswith("asyncio_loader/pipelines/")} == {
        f"asyncio_loader/{path}" for path in PIPELINES
    }


def test_what_the_wheel_says_of_itself(wheel: zipfile.ZipFile) -> None:
    info = f"asyncio_loader-{asyncio_loader.__version__}.dist-info"
    metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())

    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert {"train", "demo", "metrics"} <= set(metadata.get_all("Provides-Extra", []))


def test_the_source_has_what_a_wheel_is_built_of_and_no_more(source: Path) -> None:
    assert {path.name for path in source.iterdir()} == {
        *("asyncio_loader", "pipelines", "pyproject.toml", "PKG-INFO", ".gitignore"),
        *("README.md", "CHANGELOG.md", "LICENSE"),
    }


def test_the_source_makes_the_same_wheel(source: Path, tmp_path: Path, wheel: zipfile.ZipFile) -> None:
    with zipfile.ZipFile(build(source, tmp_path, "wheel")) as again:
        assert sorted(again.namelist()) == sorted(wheel.namelist())


def test_from_the_wheel_ready_configs_have_names(tmp_path: Path, workshop: Path, wheel: zipfile.ZipFile) -> None:
    site = workshop / "site"
    wheel.extractall(site)
    code = (
        "import asyncio_loader\n"
        f"config = asyncio_loader.load_config({READY!r})\n"
        "print(asyncio_loader.__file__, config.filename, config.model.backbone.depth)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )

    package = site / "asyncio_loader"
    assert done.stderr == ""
    assert done.stdout.split() == [
        f"{package}/__init__.py",
        f"{package}/pipelines/faster_rcnn/{READY}.py",
        "50",
    ]


def test_the_package_is_imported_without_a_warning() -> None:
    command = [sys.executable, "-W", "error", "-c", "import asyncio_loader, asyncio_loader.cli"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
