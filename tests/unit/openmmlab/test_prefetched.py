from __future__ import annotations

import threading

import pytest

from asyncio_loader.openmmlab.prefetched import offering, take

URI = "s3://bucket/key"


def test_nothing_is_offered_at_first() -> None:
    assert take(URI) is None


def test_what_is_offered_may_be_taken_twice() -> None:
    with offering({URI: b"bytes"}):
        assert [take(URI), take(URI)] == [b"bytes", b"bytes"]


@pytest.mark.parametrize("buffer", [bytearray(b"bytes"), memoryview(b"bytes")])
def test_any_buffer_comes_as_bytes(buffer: bytearray | memoryview) -> None:
    with offering({URI: buffer}):
        assert type(take(URI)) is bytes


def test_another_object_is_not_found() -> None:
    with offering({URI: b"bytes"}):
        assert take(f"{URI}2") is None


def test_the_offer_ends_with_the_block_however_it_ends() -> None:
    with pytest.raises(ZeroDivisionError), offering({URI: b"bytes"}):
        raise ZeroDivisionError
    assert take(URI) is None


def test_an_inner_block_hides_the_outer_one_and_gives_it_back() -> None:
    with offering({URI: b"outer"}):
        with offering({"s3://bucket/other": b"inner"}):
            assert take(URI) is None
        assert take(URI) == b"outer"


def test_another_thread_is_offered_nothing() -> None:
    seen: list[bytes | None] = []
    with offering({URI: b"bytes"}):
        thread = threading.Thread(target=lambda: seen.append(take(URI)))
        thread.start()
        thread.join()
    assert seen == [None]
