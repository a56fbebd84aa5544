"""`LocalStore` keeps the contract, for plain paths and for ``file://``."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncio_loader.stores.local import LocalStore
from tests.contracts.parts_contract import RangeContract
from tests.contracts.store_contract import StoreContract


class TestPlainPaths(RangeContract, StoreContract):
    foreign_uri = "s3://bucket/key"

    @pytest.fixture
    def store(self) -> LocalStore:
        return LocalStore()

    @pytest.fixture
    def root(self, tmp_path: Path) -> str:
        return f"{tmp_path}/"


class TestFileUris(TestPlainPaths):
    @pytest.fixture
    def root(self, tmp_path: Path) -> str:
        return f"file://{tmp_path}/"
