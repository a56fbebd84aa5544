from __future__ import annotations

from asyncio_loader.testing.simulator.log import RequestLog, RequestRecord


def test_what_is_dumped_can_be_loaded() -> None:
    log = RequestLog()
    log.append(("GET", "clé", "bytes=0-", 206, 5, 1.5, 2.5, 0, None))

    assert RequestLog.load(log.dump()) == [RequestRecord("GET", "clé", "bytes=0-", 206, 5, 1.5, 2.5, 0)]


def test_it_forgets_the_oldest() -> None:
    log = RequestLog(capacity_items=2)
    for number in range(3):
        log.append(("GET", str(number), None, 200, 0, 0.0, 0.0, 0, None))

    assert [record.key for record in RequestLog.load(log.dump())] == ["1", "2"]


def test_sums_are_of_all_that_came() -> None:
    log = RequestLog(capacity_items=1)
    log.append(("GET", "a", None, 200, 7, 0.0, 0.0, 0, None))
    log.append(("GET", "b", None, 503, 3, 0.0, 0.0, 0, "throttle"))
    log.append(("GET", "b", None, 503, 3, 0.0, 0.0, 0, "status"))
    log.clear()

    assert (log.requests, log.throttled, log.sent_bytes) == (3, 1, 13)


def test_clear_forgets_all() -> None:
    log = RequestLog()
    log.append(("GET", "a", None, 200, 0, 0.0, 0.0, 0, None))
    log.clear()

    assert RequestLog.load(log.dump()) == []
