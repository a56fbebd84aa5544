"""`S3Store` keeps the contract on rclone, which verifies every signature of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvloop

from asyncio_loader.errors import AccessDenied
from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing.servers import RcloneServer
from tests.contracts.parts_contract import MultipartContract, RangeContract
from tests.contracts.store_contract import StoreContract


class TestS3OnRclone(MultipartContract, RangeContract, StoreContract):
    foreign_uri = "memory://a"

    @pytest.fixture(params=["http1", "aiohttp"])
    async def store(self, request: pytest.FixtureRequest, rclone_environ: RcloneServer) -> AsyncIterator[S3Store]:
        store = S3Store(S3Options(transport=request.param))
        yield store
        await store.aclose()

    @pytest.fixture
    def root(self, rclone_bucket: str, fresh_name: str) -> str:
        return f"{rclone_bucket}/{fresh_name}/"

    @pytest.mark.parametrize("method", ["get", "head"])
    async def test_a_wrong_secret_is_refused(
        self, store: S3Store, root: str, method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")

        with pytest.raises(AccessDenied) as caught:
            await getattr(store, method)(f"{root}a")

        assert f"{root}a" in str(caught.value)
        assert "not-the-secret" not in str(caught.value)


class TestS3OnRcloneWithUvloop(RangeContract, StoreContract):
    """What a loop reads at once, and when it calls, is not the same there."""

    foreign_uri = "memory://a"

    new_event_loop = staticmethod(uvloop.new_event_loop)

    @pytest.fixture
    async def store(self, rclone_environ: RcloneServer) -> AsyncIterator[S3Store]:
        store = S3Store()
        yield store
        await store.aclose()

    @pytest.fixture
    def root(self, rclone_bucket: str, fresh_name: str) -> str:
        return f"{rclone_bucket}/{fresh_name}/"

    async def test_it_is_uvloop(self) -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
