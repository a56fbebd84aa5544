"""What goes wrong, and when: decided for each request before it is answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, get_args

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.simulator.draws import draw_uniforms

__all__ = ["Fault", "FaultPlan", "Kind"]

Kind: TypeAlias = Literal["status", "reset", "short", "stall"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble, and the requests that meet it.

    Attributes:
        kind: ``"status"`` answers with `status` and S3's error document in place of the object; ``"reset"`` breaks the
            connection (TCP RST), ``"short"`` announces the whole body, sends less and closes in good order,
            ``"stall"`` goes silent and keeps the connection open until the client gives up.
        key: shell pattern (``*``, ``?``, ``[…]``; ``*`` crosses ``/``) of the keys it meets. A listing has the empty
            key: ``"?*"`` spares it.
        rate: share, 0 to 1, of the requests of these keys that it meets.
        times: it meets at most so many requests of one key; None: no end. With ``rate=1`` these are the key's first
            ones, so ``Fault("status", times=2)`` fails twice for every object and then lets it through.
        status: for ``"status"``: 400 to 599.
        after_bytes: for the others: body bytes that still come. None: ``"reset"`` and ``"stall"`` strike before the
            head, ``"short"`` sends half of the body.
    """

    kind: Kind
    key: str = "*"
    rate: float = 1.0
    times: int | None = None
    status: int = 503
    after_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"Fault.kind must be one of {get_args(Kind)}, not {self.kind!r}")
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"Fault.rate must lie in 0 to 1, not {self.rate!r}")
        if self.times is not None and self.times < 1:
            raise ConfigError(f"Fault.times must be None or at least 1, not {self.times!r}")
        if not 400 <= self.status <= 599:
            raise ConfigError(f"Fault.status must lie in 400 to 599, not {self.status!r}")
        if self.after_bytes is not None and self.after_bytes < 0:
            raise ConfigError(f"Fault.after_bytes must be None, 0 or more, not {self.after_bytes!r}")


class FaultPlan:
    """Decides for each request. The first fault that meets it wins.

    The decision rests on the seed, the key and the request's number for that key alone: a run can be played again,
    however the requests of different keys race each other.
    """

    def __init__(self, faults: Sequence[Fault] = (), *, seed: int = 0) -> None:
        self._faults = tuple(faults)
        self._seed = seed
        self._hits: Counter[tuple[int, str]] = Counter()

    def __bool__(self) -> bool:
        return bool(self._faults)

    def decide(self, key: str, number: int) -> Fault | None:
        """The fault that request `number` (from 0) of `key` meets; to be asked once per request, in that order."""
        for place, fault in enumerate(self._faults):
            if not fnmatchcase(key, fault.key) or (fault.times is not None and self._hits[place, key] >= fault.times):
                continue
            if fault.rate < 1 and draw_uniforms(self._seed, f"fault {place}", key, number)[0] >= fault.rate:
                continue
            self._hits[place, key] += 1
            return fault
        return None
