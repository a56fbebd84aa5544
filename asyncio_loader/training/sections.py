"""Reading a dict of a config key by key, so that whatever is wrong with it is said with its dotted path."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final

from asyncio_loader.errors import ConfigError
from asyncio_loader.hints import did_you_mean

__all__ = ["Section"]


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING: Final = _Missing()

# One letter too few or too many, or two that have changed places, in a name of a dozen.
_NEAR = 0.87


class Section:
    """One dict of a config.

    A key that nobody has asked for by the end of the ``with`` block is an error, not a silent default: a misspelt
    hyper-parameter must not train for a week. The top level, whose other keys are a user's variables, is read without
    ``with``. Every error is a `ConfigError` that names the dotted path and the value.

    Not thread-safe; it lives for the length of the reading.
    """

    def __init__(self, values: object, path: str = "") -> None:
        if not isinstance(values, Mapping):
            raise ConfigError(f"{path}={values!r} must be a dict")
        self.path = path
        self._values = dict(values)
        self._known: set[str] = set()

    def __enter__(self) -> Section:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self.finish()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def at(self, key: str) -> str:
        """Dotted path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def error(self, key: str, rule: str) -> ConfigError:
        """The error that the value of a key breaks a rule: ``model.neck.num_outs=9 <rule>``, or ``…=9: <rule>``."""
        separator = "" if rule.startswith(":") else " "
        return ConfigError(f"{self.at(key)}={self._values.get(key)!r}{separator}{rule}")

    def finish(self) -> None:
        """Refuse the keys that nobody asked for."""
        for key in self._values:
            if key not in self._known:
                near = did_you_mean(key, self._known)
                hint = f"; {near}" if near else ""
                raise ConfigError(f"{self.at(key)}={self._values[key]!r}: there is no such key{hint}")

    def near_misses(self) -> list[tuple[str, str]]:
        """The dicts and lists that nobody has asked for under names that are nearly known ones, each with that one.

        At the top level they may be a user's own, but a section that is misspelt must not be passed over in silence.
        """
        found = []
        for key, value in self._values.items():
            if key not in self._known and isinstance(value, dict | list):
                near = difflib.get_close_matches(key, self._known, n=1, cutoff=_NEAR)
                found += [(key, name) for name in near]
        return found

    def ignore(self, *keys: str) -> None:
        """Keys that change nothing here, whatever they say."""
        self._known.update(keys)

    def take(self, key: str, default: object = MISSING) -> Any:
        """The value as it stands."""
        self._known.add(key)
        value = self._values.get(key, default)
        if value is MISSING:
            raise ConfigError(f"{self.at(key)} is missing")
        return value

    def section(self, key: str, default: object = MISSING) -> Section:
        """A dict in this dict."""
        return Section(self.take(key, default), self.at(key))

    def has(self, key: str) -> bool:
        """True where there is a value other than None."""
        return self.take(key, None) is not None

    def count(self, key: str, default: object = MISSING, *, least: int = 0) -> int:
        """A whole number of at least `least`."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.error(key, f"must be a whole number of at least {least}")
        return value

    def number(self, key: str, default: object = MISSING, *, least: float = 0.0) -> float:
        """A finite number of at least `least`."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
            raise self.error(key, f"must be a number of at least {least:g}")
        return float(value)

    def flag(self, key: str, default: object = MISSING) -> bool:
        """True or False."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "must be True or False")
        return value

    def text(self, key: str, default: object = MISSING) -> str:
        """A non-empty string."""
        value = self.take(key, default)
        if not isinstance(value, str) or not value:
            raise self.error(key, "must be a non-empty string")
        return value

    def numbers(self, key: str, default: object = MISSING, *, length: int | None = None) -> tuple[float, ...]:
        """A list or tuple of numbers, of a given length or of at least one."""
        value = self.take(key, default)
        ok = isinstance(value, list | tuple) and all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in value
        )
        if not ok or (len(value) != length if length is not None else not value):
            raise self.error(key, f"must be a list of {length or ''} numbers".replace("  ", " "))
        return tuple(float(v) for v in value)

    def choice(self, key: str, choices: Iterable[Any], default: object = MISSING, *, why: str = "") -> Any:
        """One of a few values. `why` tells what stands behind the limit."""
        value, choices = self.take(key, default), list(choices)
        value = list(value) if isinstance(value, tuple) else value
        if value in choices:
            return value
        texts = [c for c in choices if isinstance(c, str)]
        near = did_you_mean(value, texts) if isinstance(value, str) else ""
        hint = f"; {near}" if near else ""
        listed = " or ".join(map(repr, choices)) if len(choices) < 3 else f"one of {', '.join(map(repr, choices))}"
        raise self.error(key, f"must be {listed}{f': {why}' if why else ''}{hint}")

    def fixed(self, why: str, **values: object) -> None:
        """Keys that may be left out or say what is the case anyway; anything else cannot be had, because of `why`."""
        for key, value in values.items():
            self.choice(key, [value], value, why=why)
