"""What a `SampleSource` tells a trace."""

from __future__ import annotations

import itertools
import time

from asyncio_loader.bridge.trace_writer import TraceWriter
from asyncio_loader.datasets.recipe import Made, Objects, Recipe
from asyncio_loader.engine.prefetch import Delivery
from asyncio_loader.records import Failed
from asyncio_loader.trace.events import bare_uri

__all__ = ["SourceTrace"]


class SourceTrace:
    """The objects of one source, and the threads that work on them.

    Attributes:
        recorder: what collects.
        tracks: of the objects.
    """

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer
        self._orders = itertools.count()
        self.recorder = writer.recorder
        self.tracks = self.recorder.objects()

    def make(self, recipe: Recipe, delivery: Delivery, objects: Objects) -> Made | Failed:
        """`Recipe.make`, as a stage of the object and as a span of this thread."""
        record = self.tracks.take(delivery.credit.order)
        started_s = time.perf_counter()
        made: Made | Failed | None = None
        try:
            made = recipe.make(delivery.outcome, objects)
        finally:
            if record is not None:
                record.make(made.error if isinstance(made, Failed) else None)
                self.recorder.span("transform", started_s, uri=bare_uri(record.uri), position=record.place[1])
        return made

    def stacked(self, started_s: float) -> None:
        """This thread has written the images of a batch to their stack since then."""
        self.recorder.span("stack", started_s)

    def deliver(self) -> None:
        """The consumer has the next sample in order, or its error."""
        self.tracks.deliver(next(self._orders))

    def waited(self, started_s: float) -> None:
        """The consumer has waited for it since then."""
        self.recorder.wait("waits for a sample", started_s)

    def close(self) -> None:
        """Write down what there is, also of objects under way. Idempotent."""
        self.tracks.close()
        self._writer.flush()
