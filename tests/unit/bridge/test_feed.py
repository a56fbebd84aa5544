from __future__ import annotations

import asyncio
import gc
import signal
import threading
import weakref
from collections.abc import Iterator

import pytest

from asyncio_loader.bridge.feed import Feed
from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.engine.agenda import Job
from asyncio_loader.errors import ConfigError
from asyncio_loader.options import FetchOptions
from asyncio_loader.records import Buffer, ObjectRef, Slot
from asyncio_loader.stats import Counters
from asyncio_loader.stores.base import Admit


class EchoStore:
    """Answers with the URI; holds back what `held` names until the test says so."""

    def __init__(self, held: str = "") -> None:
        self.held = held
        self.asked: list[str] = []
        self.cancelled = threading.Event()

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        self.asked.append(uri)
        if uri == self.held:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if uri == "m://broken":
            raise ConfigError("wrong region")
        return uri.encode()


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    loop_thread = LoopThread()
    yield loop_thread
    loop_thread.close()


def open_feed(loop_thread: LoopThread, store: EchoStore, uris: list[str], **options: int) -> Feed:
    work = [Job(ObjectRef(uri, 10), Slot(n, n)) for n, uri in enumerate(uris)]
    return Feed(loop_thread, store, work, options=FetchOptions(**options), counters=Counters())  # type: ignore[arg-type]


def take_all(feed: Feed) -> list[bytes]:
    taken = []
    while (delivery := feed.take()) is not None:
        taken.append(bytes(delivery.outcome.data))  # type: ignore[union-attr]
        feed.give_back(delivery.credit)
    return taken


def test_deliveries_come_in_order_and_end_with_none_for_ever(loop_thread: LoopThread) -> None:
    uris = [f"m://{n}" for n in range(300)]
    feed = open_feed(loop_thread, EchoStore(), uris)

    assert take_all(feed) == [uri.encode() for uri in uris]
    assert feed.take() is None


def test_credits_that_are_not_given_back_stop_the_fetching(loop_thread: LoopThread) -> None:
    store = EchoStore()
    feed = open_feed(loop_thread, store, [f"m://{n}" for n in range(10)], window_items=3)

    held = [feed.take() for _ in range(3)]
    assert len(store.asked) == 3

    for delivery in held:
        assert delivery is not None
        feed.give_back(delivery.credit)
    assert len(take_all(feed)) == 7


def test_at_the_end_every_credit_is_back(loop_thread: LoopThread) -> None:
    feed = open_feed(loop_thread, EchoStore(), [f"m://{n}" for n in range(50)])
    take_all(feed)

    async def held_items() -> int:
        return feed.window.held_items

    assert loop_thread.run(held_items()) == 0


def test_what_breaks_the_engine_is_raised_here_with_the_object_named(loop_thread: LoopThread) -> None:
    feed = open_feed(loop_thread, EchoStore(), ["m://broken"])

    for _ in range(2):
        with pytest.raises(ConfigError, match="wrong region") as caught:
            feed.take()
        assert caught.value.__notes__ == ["while fetching m://broken (sample 0)"]


def test_close_cancels_the_gets_and_wakes_whoever_waits(loop_thread: LoopThread) -> None:
    store = EchoStore(held="m://0")
    feed = open_feed(loop_thread, store, ["m://0"])
    taken: list[object] = []
    waiter = threading.Thread(target=lambda: taken.append(feed.take()))
    waiter.start()

    feed.close()
    feed.close()
    waiter.join(timeout=10)

    assert taken == [None]
    if store.asked:
        assert store.cancelled.wait(timeout=10)


def test_dropping_it_stops_the_fetching(loop_thread: LoopThread) -> None:
    store = EchoStore(held="m://1")
    feed = open_feed(loop_thread, store, ["m://0", "m://1"])
    feed.take()
    alive = weakref.ref(feed)

    del feed
    gc.collect()

    assert alive() is None
    assert store.cancelled.wait(timeout=10)


@pytest.mark.usefixtures("ctrl_c_raises")
def test_ctrl_c_gets_through_even_if_its_signal_wakes_another_thread(loop_thread: LoopThread) -> None:
    feed = open_feed(loop_thread, EchoStore(held="m://late"), ["m://late"])

    def take_interrupted() -> None:
        loop_thread.call(lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT))
        feed.take()

    with pytest.raises(KeyboardInterrupt):
        take_interrupted()
    feed.close()
