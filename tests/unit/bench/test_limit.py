from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.object_server import ObjectServer, serve
from bench.peers import limit
from bench.peers.tasks import GetTask, key_of

KEYS = 3


@pytest.fixture(params=[10, 300_000], ids=["small", "large"])
def size_bytes(request: pytest.FixtureRequest) -> int:
    size: int = request.param
    return size


@pytest.fixture
def server(size_bytes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    with serve(((key_of(number), bytes(size_bytes)) for number in range(KEYS)), tls=False) as running:
        for name, value in running.environ.items():
            monkeypatch.setenv(name, value)
        yield running


def task_of(server: ObjectServer, size_bytes: int, *, keys: int = KEYS) -> GetTask:
    return GetTask(endpoint_url=server.http_url, gets=20, warm_gets=6, keys=keys, size_bytes=size_bytes, in_flight=4)


def test_every_body_is_read(server: ObjectServer, size_bytes: int) -> None:
    assert limit.get(task_of(server, size_bytes)).wall_s > 0


@pytest.mark.parametrize("more", [-1, 1])
def test_a_body_of_another_size_is_refused(server: ObjectServer, size_bytes: int, more: int) -> None:
    with pytest.raises(ValueError, match=f"a body of {size_bytes} bytes in place of {size_bytes + more}"):
        limit.get(task_of(server, size_bytes + more))


def test_an_answer_that_is_none_is_refused(server: ObjectServer, size_bytes: int) -> None:
    with pytest.raises(ValueError, match="the server said"):
        limit.get(task_of(server, size_bytes, keys=KEYS + 1))
