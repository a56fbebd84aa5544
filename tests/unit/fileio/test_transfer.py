"""What a journal learns of an upload in parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asyncio_loader.errors import ServerFault
from asyncio_loader.fileio.journal import UploadJournal
from asyncio_loader.fileio.transfer import part_writer
from asyncio_loader.options import S3Options
from asyncio_loader.records import Buffer
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing.servers import MotoServer

MIB = 1024 * 1024
OPTIONS = S3Options(part_size_bytes=5 * MIB, endpoint_url="http://127.0.0.1:9000")
URI = "memory://bucket/a"


def _lines(journal: UploadJournal) -> list[dict[str, object]]:
    return [json.loads(line) for line in journal.path.read_bytes().splitlines() if line]


async def test_an_upload_is_noted_before_its_first_part_and_at_its_end(tmp_path: Path) -> None:
    journal = UploadJournal(tmp_path / "journal")
    noted: list[int] = []

    class Watched(MemoryStore):
        async def put_part(self, uri: str, upload_id: str, number: int, data: Buffer) -> str:
            noted.append(len(_lines(journal)))
            return await super().put_part(uri, upload_id, number, data)

    writer = part_writer(Watched(), URI, OPTIONS, journal)
    await writer.write(bytes(11 * MIB))
    await writer.finish()

    assert noted == [1, 1, 1]
    begun, ended = _lines(journal)
    assert begun == {
        "begun": {
            "uri": URI,
            "upload_id": ended["ended"],
            "storage": {"endpoint_url": "http://127.0.0.1:9000", "part_size_bytes": 5 * MIB},
        }
    }
    assert list(ended) == ["ended"]


async def test_an_abort_is_an_end(tmp_path: Path) -> None:
    journal = UploadJournal(tmp_path / "journal")
    writer = part_writer(MemoryStore(), URI, OPTIONS, journal)
    await writer.write(bytes(11 * MIB))
    await writer.abort()

    begun, ended = _lines(journal)
    assert ended == {"ended": begun["begun"]["upload_id"]}  # type: ignore[index]


async def test_an_upload_that_could_not_be_aborted_stays_a_leftover(tmp_path: Path) -> None:
    class Deaf(MemoryStore):
        async def abort_upload(self, uri: str, upload_id: str) -> None:
            raise ServerFault("no")

    journal = UploadJournal(tmp_path / "journal")
    writer = part_writer(Deaf(), URI, OPTIONS, journal)
    await writer.write(bytes(11 * MIB))
    with pytest.raises(ServerFault):
        await writer.abort()

    assert len(_lines(journal)) == 1
    assert journal._fd is None


async def test_the_server_is_noted_where_it_was_found(
    moto_environ: MotoServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    journal = UploadJournal(tmp_path / "journal")
    store = S3Store()
    await store.create_bucket("s3://found")
    await store.aclose()
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    writer = part_writer(store, "s3://found/a", S3Options(), journal)
    await writer.write(bytes(9 * MIB))
    await writer.abort()
    await store.aclose()

    begun = _lines(journal)[0]["begun"]
    assert begun["storage"] == {  # type: ignore[index]
        "endpoint_url": moto_environ.endpoint_url,
        "region_name": "eu-central-1",
    }


async def test_a_profile_of_the_environment_is_noted_unless_its_keys_are_not_used(
    moto_environ: MotoServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[profile other]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "other")
    found = []
    for has_keys in (True, False):
        if not has_keys:
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        store = S3Store()
        before = store.found_options
        await store.has_any("s3://found/")
        found.append(store.found_options.profile_name)
        await store.aclose()
        assert before == store.found_options == S3Options()

    assert found == [None, "other"]


async def test_a_small_object_is_nothing_to_note(tmp_path: Path) -> None:
    journal = UploadJournal(tmp_path / "journal")
    store = MemoryStore()
    writer = part_writer(store, URI, OPTIONS, journal)
    await writer.write(b"1")
    await writer.finish()

    assert await store.get(URI) == b"1"
    assert not journal.path.exists()
