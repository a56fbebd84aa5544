from __future__ import annotations

import logging

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


def test_the_packages_logger_is_as_before() -> None:
    package = logging.getLogger("asyncio_loader")
    before = package.level, package.propagate, list(package.handlers)

    with relay_log(logging.INFO):
        pass

    assert (package.level, package.propagate, list(package.handlers)) == before
