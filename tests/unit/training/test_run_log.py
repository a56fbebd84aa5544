from __future__ import annotations

import logging
import uuid

from mmengine.logging import MMLogger

from asyncio_loader.training.run_log import relay_log

LOG = logging.getLogger("asyncio_loader.somewhere")


class Kept(logging.Logger):
    """Keeps messages."""

    def __init__(self) -> None:
        super().__init__("kept")
        self.messages: list[str] = []

    def handle(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def test_what_was_said_before_the_logger_exists_comes_first() -> None:
    kept = Kept()

    with relay_log(logging.INFO) as relay:
        LOG.info("early")
        relay.attach(kept)
        LOG.info("late")
        LOG.debug("too quiet")

        assert kept.messages == ["early", "late"]


def test_warnings_of_one_kind_are_told_apart_by_what_they_say() -> None:
    """mmengine's handlers drop a warning whose format they have seen."""
    logger = MMLogger(f"told-apart-{uuid.uuid4().hex}")
    kept: list[str] = []
    logger.handlers[0].emit = lambda record: kept.append(record.getMessage())  # type: ignore[method-assign]

    with relay_log(logging.INFO) as relay:
        relay.attach(logger)
        for epoch in (0, 1):
            LOG.warning("epoch %d: 5 %% failed", epoch)

    assert kept == ["epoch 0: 5 % failed", "epoch 1: 5 % failed"]


def test_the_packages_logger_is_as_before() -> None:
    package = logging.getLogger("asyncio_loader")
    before = package.level, package.propagate, list(package.handlers)

    with relay_log(logging.INFO):
        pass

    assert (package.level, package.propagate, list(package.handlers)) == before
