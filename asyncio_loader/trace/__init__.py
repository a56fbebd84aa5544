"""What happened to every object, and when: a file for ui.perfetto.dev and chrome://tracing."""

from __future__ import annotations

from asyncio_loader.trace.file import TraceFile
from asyncio_loader.trace.objects import ObjectRecord, ObjectTracks
from asyncio_loader.trace.reading import Event, Span, Trace, read_trace
from asyncio_loader.trace.recorder import Recorder

__all__ = ["Event", "ObjectRecord", "ObjectTracks", "Recorder", "Span", "Trace", "TraceFile", "read_trace"]
