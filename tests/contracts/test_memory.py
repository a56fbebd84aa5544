"""`MemoryStore` keeps the contract."""

from __future__ import annotations

import pytest

from asyncio_loader.stores.memory import MemoryStore
from tests.contracts.parts_contract import MultipartContract, RangeContract
from tests.contracts.store_contract import StoreContract


class TestMemoryStore(MultipartContract, RangeContract, StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def root(self) -> str:
        return "memory://bucket/"
