"""Names in a config → callables on samples. Open: a user's own transform registers like ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, overload

from asyncio_loader.errors import ConfigError
from asyncio_loader.hints import did_you_mean
from asyncio_loader.records import Sample

__all__ = ["TRANSFORMS", "Registry", "Transform", "UnknownNameError"]

Transform: TypeAlias = Callable[[Sample], Sample | None]
"""Takes a sample over, changes it or makes a new one, and returns it; None gives the sample up."""

Factory = TypeVar("Factory", bound=Callable[..., Any])


class UnknownNameError(ConfigError, KeyError):
    """A `type` that nobody registered. A `KeyError` too, because that is what mmcv raises."""

    # KeyError would show the message in quotes, as if it were the key.
    __str__ = Exception.__str__


class Registry:
    """Classes (or functions) by name, to be made from entries like ``dict(type="Resize", img_scale=(1333, 800))``.

    Registering happens while modules are imported, in every process anew; a spawned worker has to import the module
    that registers.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._factories: dict[str, Callable[..., Any]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._factories

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)

    def __repr__(self) -> str:
        return f"Registry({self._kind}: {', '.join(sorted(self._factories))})"

    @overload
    def register(self, target: Factory, *, name: str | None = None, force: bool = False) -> Factory: ...
    @overload
    def register(
        self, target: str | None = None, *, name: str | None = None, force: bool = False
    ) -> Callable[[Factory], Factory]: ...
    def register(self, target: Any = None, *, name: str | None = None, force: bool = False) -> Any:
        """Make a class known, as a decorator (``@register``, ``@register("Name")``) or by a call (``register(cls)``).

        Args:
            target: the class, or the name for the class to be decorated.
            name: the name; None: that of the class.
            force: replace what has the name already.

        Raises:
            ConfigError: the name is taken, or is no string.
        """
        if target is not None and not isinstance(target, str):
            self._add(name or target.__name__, target, force=force)
            return target

        def decorate(factory: Factory) -> Factory:
            self._add(target or name or factory.__name__, factory, force=force)
            return factory

        return decorate

    def register_module(
        self, name: str | Sequence[str] | None = None, force: bool = False, module: Factory | None = None
    ) -> Any:
        """`register` in the words of mmcv and mmengine; several names are allowed."""
        if name is not None and not isinstance(name, str | list | tuple):
            raise ConfigError(f"register_module: name must be a string or a list of strings, not {name!r:.80}")

        def decorate(factory: Factory) -> Factory:
            for each in [name] if isinstance(name, str) else name or [factory.__name__]:
                self._add(each, factory, force=force)
            return factory

        return decorate if module is None else decorate(module)

    def get(self, name: str, *, place: str = "") -> Callable[..., Any]:
        """What is registered as `name`.

        Raises:
            UnknownNameError: nothing is; the message begins with `place`.
        """
        if name in self._factories:
            return self._factories[name]
        hint = did_you_mean(name, self._factories, f"known are {', '.join(sorted(self._factories))}")
        raise UnknownNameError(f"{_prefix(place)}unknown {self._kind} {name!r}; {hint}")

    def build(self, entry: Mapping[str, Any], *, place: str = "") -> Any:
        """Make what an entry of a config describes: `type` is a registered name or a callable, the rest its arguments.

        Raises:
            ConfigError: `type` is missing or unknown, an argument is unknown or missing, or the class refuses a value;
                the message begins with `place`.
        """
        arguments = dict(entry)
        kind = arguments.pop("type", None)
        if kind is None:
            raise ConfigError(f"{_prefix(place)}an entry needs a 'type'; this one has {sorted(map(str, arguments))}")
        if not isinstance(kind, str) and not callable(kind):
            raise ConfigError(f"{_prefix(place)}'type' must be a name or a class, not {kind!r:.80}")
        factory = self.get(kind, place=place) if isinstance(kind, str) else kind
        place = f"{place} ({_name_of(factory)})" if place else _name_of(factory)
        _check_arguments(factory, arguments, place)
        try:
            return factory(**arguments)
        except ConfigError as error:
            raise type(error)(f"{_prefix(place)}{error}") from error.__cause__
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{_prefix(place)}{type(error).__name__}: {error}") from error

    def _add(self, name: str, factory: Callable[..., Any], *, force: bool) -> None:
        if not callable(factory):
            raise ConfigError(f"a {self._kind} must be a class or a function, not {factory!r:.80}")
        if not force and self._factories.get(name, factory) is not factory:
            raise ConfigError(f"a {self._kind} {name!r} is registered already; force=True replaces it")
        self._factories[name] = factory


def _prefix(place: str) -> str:
    return f"{place}: " if place else ""


def _name_of(factory: Callable[..., Any]) -> str:
    return getattr(factory, "__name__", type(factory).__name__)


def _check_arguments(factory: Callable[..., Any], arguments: Mapping[str, Any], place: str) -> None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # some built-in classes don't tell
        return
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    names = [p.name for p in named]
    is_open = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for name in arguments:
        if name not in names and not is_open:
            hint = did_you_mean(name, names, f"it takes {', '.join(names) or 'none'}")
            raise ConfigError(f"{place}: unknown argument {name!r}; {hint}")
    for parameter in named:
        if parameter.default is parameter.empty and parameter.name not in arguments:
            raise ConfigError(f"{place}: the argument {parameter.name!r} is missing")


TRANSFORMS = Registry("transform")
"""The transforms that a pipeline may name: mmdet 2.x's that we have, and whatever a user registers."""
