from __future__ import annotations

import subprocess
import sys

import pytest

import asyncio_loader.testing as testing


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_can_be_had(name: str) -> None:
    assert getattr(testing, name).__name__ == name


def test_the_names_are_sorted() -> None:
    assert testing.__all__ == sorted(testing.__all__)
    assert dir(testing) == testing.__all__


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = testing.nothing


def test_the_simulator_costs_no_torch_import() -> None:
    script = "import sys; from asyncio_loader.testing import S3Simulator; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
