"""What goes wrong, and when: decided for each request before it is answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, get_args

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.simulator.draws import draw_uniforms

__all__ = ["Fault", "FaultPlan", "Kind"]

Kind: TypeAlias = Literal[
    "status",
    "reset",
    "short",
    "stall",
    "close",
    "hangup",
    "extra",
    "length",
    "corrupt",
    "slow",
    "drip",
    "connect",
    "handshake",
]

_CUTS = ("reset", "short", "stall")
_OF_CONNECTIONS = ("connect", "handshake")


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble, and the requests that meet it.

    What becomes of the answer:

    - ``"status"``: `status` and S3's error document in place of the object.
    - ``"reset"`` breaks the connection (TCP RST), ``"short"`` announces the whole body, sends less and closes in good
      order, ``"stall"`` goes silent and keeps the connection open until the client gives up. Where they strike:
      `head_bytes`, `after_bytes`.
    - ``"close"`` sends the whole answer with ``Connection: close``, and closes; ``"hangup"`` closes without a word.
    - ``"extra"`` sends more than was announced: the whole answer a second time, which a careless client takes for that
      to its next request; with `after_bytes` so many bytes of rubbish.
    - ``"length"`` announces `length_error_bytes` more than come (the connection stays open), or fewer.
    - ``"corrupt"``: one bit of the body is another; length, ETag and checksums are those of the true object.
    - ``"slow"``: the first byte comes after `delay_s`. ``"drip"``: the body comes at `bytes_s`.

    What becomes of a whole connection, whatever it is for; `key` and `credential` have no say there, and `times` counts
    all connections:

    - ``"connect"`` resets it as soon as it is made; ``"handshake"`` breaks the TLS handshake off.

    Attributes:
        kind: see above.
        key: shell pattern (``*``, ``?``, ``[…]``; ``*`` crosses ``/``) of the keys it meets. A listing has the empty
            key: ``"?*"`` spares it.
        rate: share, 0 to 1, of the requests of these keys that it meets.
        times: it meets at most so many requests of one key; None: no end. With ``rate=1`` these are the key's first
            ones, so ``Fault("status", times=2)`` fails twice for every object and then lets it through.
        skip: so many requests of a key, or connections, pass before.
        status: for ``"status"``: 300 to 599.
        after_bytes: body bytes that still come. None: ``"reset"`` and ``"stall"`` strike before the head, ``"short"``
            sends half of the body. For ``"corrupt"``: those before the wrong one; None: half of the body.
        head_bytes: bytes of the head that still come, where one of the three strikes before its end: 0 for none.
        code: for ``"status"``: S3's error code. None: the usual one of the status.
        region: for ``"status"``: the region that the answer says the bucket is in.
        retry_after_s: for ``"status"``: whole seconds of a Retry-After header. None: there is none.
        credential: shell pattern of the credential that a request was signed with: ``KEYID/20260131/us-east-1/s3/…``.
            ``"OLD/*"`` meets the requests of one key, ``"*/us-east-1/*"`` those for one region. None: any request.
        length_error_bytes: for ``"length"``: announced minus true length.
        delay_s: for ``"slow"``: seconds, in place of the simulator's latency.
        bytes_s: for ``"drip"``: bytes per second.
    """

    kind: Kind
    key: str = "*"
    rate: float = 1.0
    times: int | None = None
    status: int = 503
    after_bytes: int | None = None
    head_bytes: int | None = None
    code: str | None = None
    region: str | None = None
    retry_after_s: int | None = None
    credential: str | None = None
    skip: int = 0
    length_error_bytes: int = 1
    delay_s: float = 1.0
    bytes_s: float = 1000.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"Fault.kind must be one of {get_args(Kind)}, not {self.kind!r}")
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"Fault.rate must lie in 0 to 1, not {self.rate!r}")
        if self.times is not None and self.times < 1:
            raise ConfigError(f"Fault.times must be None or at least 1, not {self.times!r}")
        if not 300 <= self.status <= 599:
            raise ConfigError(f"Fault.status must lie in 300 to 599, not {self.status!r}")
        if self.skip < 0:
            raise ConfigError(f"Fault.skip must be 0 or more, not {self.skip!r}")
        for name in ("after_bytes", "head_bytes", "retry_after_s"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"Fault.{name} must be None, 0 or more, not {value!r}")
        if self.head_bytes is not None and (self.kind not in _CUTS or self.after_bytes is not None):
            raise ConfigError(f"Fault.head_bytes is for {_CUTS}, without after_bytes, not for {self.kind!r}")
        if self.length_error_bytes == 0:
            raise ConfigError("Fault.length_error_bytes must not be 0")
        if not self.delay_s >= 0:
            raise ConfigError(f"Fault.delay_s must be 0 or more, not {self.delay_s!r}")
        if not self.bytes_s > 0:
            raise ConfigError(f"Fault.bytes_s must be above 0, not {self.bytes_s!r}")
        if self.is_of_connections and (self.key != "*" or self.credential is not None):
            raise ConfigError(f"Fault.key and credential have no say in what meets a connection ({self.kind!r})")

    @property
    def is_of_connections(self) -> bool:
        """True where it meets connections, not requests."""
        return self.kind in _OF_CONNECTIONS


class FaultPlan:
    """Decides for each request. The first fault that meets it wins.

    The decision rests on the seed, the key and the request's number for that key alone: a run can be played again,
    however the requests of different keys race each other.

    Args:
        faults: all there are; the place of each among them is part of what its draws rest on.
        kinds: the plan is about those of them alone. None: about those that meet requests.
        seed: another seed, other draws.
    """

    def __init__(self, faults: Sequence[Fault] = (), *, kinds: Iterable[Kind] | None = None, seed: int = 0) -> None:
        chosen = [fault.kind in kinds if kinds is not None else not fault.is_of_connections for fault in faults]
        self._faults = [(place, fault) for place, fault in enumerate(faults) if chosen[place]]
        self._seed = seed
        self._hits: Counter[tuple[int, str]] = Counter()
        self.asks_for_credential = any(fault.credential is not None for _, fault in self._faults)

    def __bool__(self) -> bool:
        return bool(self._faults)

    def decide(self, key: str, number: int, credential: str = "") -> Fault | None:
        """The fault that request `number` (from 0) of `key` meets; to be asked once per request, in that order."""
        for place, fault in self._faults:
            if number < fault.skip or not _matches(key, fault.key):
                continue
            if fault.times is not None and self._hits[place, key] >= fault.times:
                continue
            if fault.credential is not None and not _matches(credential.lower(), fault.credential.lower()):
                continue
            if fault.rate < 1 and draw_uniforms(self._seed, f"fault {place}", key, number)[0] >= fault.rate:
                continue
            self._hits[place, key] += 1
            return fault
        return None


def _matches(text: str, pattern: str) -> bool:
    return pattern == "*" or fnmatchcase(text, pattern)
