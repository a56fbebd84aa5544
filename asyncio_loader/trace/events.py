"""Events as lines of JSON, in the Trace Event Format.

Times are seconds of `time.perf_counter`, which all processes of a machine share on Linux. The format has microseconds;
these are whole ones, rounded down, so that what comes after or inside of something else still does.
A span of a thread is one event (``X``). One that is nobody's thread's, like a GET, is a pair (``b``, ``e``) that an id
holds together; pairs of one id must nest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii
from typing import Any

__all__ = ["Events", "Track", "args_text", "bare_uri", "quoted"]

quoted = encode_basestring_ascii
"""A text as JSON: ASCII, so that a key with broken surrogates is as good as any."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


def args_text(args: Mapping[str, Any]) -> str:
    """Arguments of an event, as JSON; empty where there are none."""
    return _encode(args) if args else ""


def bare_uri(uri: str) -> str:
    """A URI without what may be secret of it: of a presigned URL the signature, of any the user and password.

    A question mark in an ``s3://`` key is a part of its name.
    """
    if not uri.startswith(("http://", "https://")):
        return uri
    scheme, _, rest = uri.partition("://")
    rest = rest.partition("#")[0].partition("?")[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


class Events:
    """Makes the lines of one process. `args` are JSON texts already: see `args_text`."""

    __slots__ = ("pid",)

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def span(self, category: str, name: str, tid: int, start_s: float, end_s: float, args: str = "") -> str:
        """What a thread did, or waited for."""
        begun = int(start_s * 1e6)
        return (
            f'{{"ph":"X","cat":"{category}","name":"{name}","pid":{self.pid},"tid":{tid},"ts":{begun},'
            f'"dur":{max(0, int(end_s * 1e6) - begun)}{_args(args)}}}'
        )

    def track(self, category: str, number: int) -> Track:
        """A track of its own, which has that number."""
        return Track(f'"cat":"{category}","id2":{{"local":"{number:#x}"}},"pid":{self.pid},"tid":{self.pid}')

    def instant(self, category: str, name: str, tid: int, at_s: float, args: str = "") -> str:
        """What a thread noticed."""
        return (
            f'{{"ph":"i","s":"t","cat":"{category}","name":"{name}","pid":{self.pid},"tid":{tid},'
            f'"ts":{int(at_s * 1e6)}{_args(args)}}}'
        )

    def counter(self, name: str, unit: str, at_s: float, value: float) -> str:
        """A figure, from now on."""
        args = _args(f'{{"{unit}":{value:.6g}}}')
        return f'{{"ph":"C","name":{quoted(name)},"pid":{self.pid},"tid":{self.pid},"ts":{int(at_s * 1e6)}{args}}}'

    def name_of_process(self, name: str) -> str:
        """What the viewer calls this process."""
        return f'{{"ph":"M","name":"process_name","pid":{self.pid},"tid":{self.pid},"args":{{"name":{quoted(name)}}}}}'

    def name_of_thread(self, tid: int, name: str) -> str:
        """What the viewer calls a thread."""
        return f'{{"ph":"M","name":"thread_name","pid":{self.pid},"tid":{tid},"args":{{"name":{quoted(name)}}}}}'


class Track:
    """Makes the lines of spans that are no thread's."""

    __slots__ = ("_rest",)

    def __init__(self, rest: str) -> None:
        """Args: rest: what all of them have in common, as JSON."""
        self._rest = rest

    def begin(self, name: str, at_s: float, args: str = "") -> str:
        """One begins."""
        return f'{{"ph":"b","name":"{name}",{self._rest},"ts":{int(at_s * 1e6)}{_args(args)}}}'

    def end(self, name: str, at_s: float) -> str:
        """The one that began last ends."""
        return f'{{"ph":"e","name":"{name}",{self._rest},"ts":{int(at_s * 1e6)}}}'


def _args(text: str) -> str:
    return f',"args":{text}' if text else ""
