from __future__ import annotations

import subprocess
import sys

import pytest

import asyncio_loader

DOCUMENTED = {
    "TRANSFORMS",
    "AsyncIterableDataset",
    "CocoDataset",
    "Compose",
    "Failed",
    "FetchOptions",
    "Fetched",
    "FileClient",
    "Loader",
    "LoaderError",
    "LoaderStats",
    "ObjectRef",
    "RetryPolicy",
    "S3Options",
    "collate_detection",
    "load_config",
}


def test_the_public_names_are_the_documented_ones() -> None:
    assert set(asyncio_loader.__all__) == DOCUMENTED


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(asyncio_loader, name)

    assert value.__doc__
    assert name in dir(asyncio_loader)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'DataLoader'"):
        _ = asyncio_loader.DataLoader


@pytest.mark.parametrize(
    "program",
    [
        "import asyncio_loader, asyncio_loader.errors; asyncio_loader.S3Options()",
        "import asyncio_loader.cli as c, contextlib\nwith contextlib.suppress(SystemExit): c.main(['--help'])",
    ],
)
def test_names_errors_and_help_cost_no_torch_import(program: str) -> None:
    program += "\nimport sys; heavy = {'torch', 'cv2', 'aiohttp', 'botocore', 'mmengine'} & set(sys.modules)"
    program += "\nassert not heavy, heavy"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
