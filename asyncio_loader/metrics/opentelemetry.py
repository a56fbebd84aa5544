"""Figures of loaders as instruments of an OpenTelemetry meter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Self, TypeAlias
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider

from asyncio_loader import __version__
from asyncio_loader.errors import ConfigError
from asyncio_loader.metrics.names import METRICS, help_texts
from asyncio_loader.metrics.sources import LABELS, Source, Sources, as_mapping, rank_label

__all__ = ["Instrumentation", "instrument"]

Value: TypeAlias = str | int | float | bool
_Callback: TypeAlias = Callable[[CallbackOptions], Iterable[Observation]]

_PREFIX = "asyncio_loader."


def instrument(
    loaders: Source | Mapping[str, Source],
    meter_provider: MeterProvider | None = None,
    *,
    attributes: Mapping[str, Value] | None = None,
) -> Instrumentation:
    """Have a meter provider export the figures of loaders.

    Figures are read when its readers collect, in their thread; loading pays nothing for it. A loader is held weakly,
    and observed for as long as it exists. Service and machine belong in the provider's resource.

    Args:
        loaders: a `Loader`, a dataset, or a DataLoader of one, which will be called "train"; or several by name. Those
            of a DataLoader before its workers start: what such a worker counts cannot be read later.
        meter_provider: None: the global one. Set that first: instruments that were made before go to the one that is
            set later, beside those that are made afterwards.
        attributes: further ones, of all these figures. ``asyncio_loader.rank`` may be among them, for it is found when
            this is called: in `torch.distributed`'s default group, else in RANK in the environment, else it is 0.

    Raises:
        ConfigError: another loader that is alive has the name with this provider, or it is no loader.
    """
    provider = get_meter_provider() if meter_provider is None else meter_provider
    observed = _by_provider.get(provider)
    if observed is None:
        observed = _by_provider[provider] = _Observed(provider)
    return Instrumentation(observed, as_mapping(loaders), _checked(attributes))


class Instrumentation:
    """What `instrument` has begun. It goes on until `close`, whether or not anybody keeps this.

    A context manager. For the thread that made it.
    """

    def __init__(self, observed: _Observed, loaders: Mapping[str, Source], attributes: Mapping[str, Value]) -> None:
        """Begin. For `instrument`."""
        self._observed = observed
        self._attributes = {f"{_PREFIX}rank": rank_label(), **attributes}
        self._names: list[str] = []
        try:
            for name, loader in loaders.items():
                self.add(name, loader)
        except ConfigError:
            self.close()
            raise

    def add(self, name: str, loader: Source) -> None:
        """Export another one's figures, too, under the attribute ``asyncio_loader.loader="<name>"``.

        Raises:
            ConfigError: as `instrument`.
        """
        self._observed.add(name, loader, self._attributes)
        self._names.append(name)

    def close(self) -> None:
        """Export none of these any more. Idempotent."""
        for name in self._names:
            self._observed.remove(name, self._attributes)
        self._names.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Observed:
    """The loaders of one provider, and the instruments for all of them."""

    def __init__(self, provider: MeterProvider) -> None:
        self._sources = Sources()
        self._attributes: dict[str, Mapping[str, Value]] = {}
        meter = provider.get_meter("asyncio_loader", __version__)
        told = help_texts()
        for metric in METRICS:
            create = meter.create_observable_counter if metric.is_count else meter.create_observable_gauge
            callback: _Callback = partial(self._observe, metric.field)
            create(metric.name, callbacks=[callback], unit=metric.unit, description=told[metric.field])

    def add(self, name: str, loader: Source, attributes: Mapping[str, Value]) -> None:
        self._sources.add(name, loader)
        self._attributes[name] = attributes

    def remove(self, name: str, attributes: Mapping[str, Value]) -> None:
        # One that was collected may have left its name to another, of another instrumentation.
        if self._attributes.get(name) is attributes:
            self._sources.remove(name)
            del self._attributes[name]

    def _observe(self, field: str, options: CallbackOptions) -> Iterable[Observation]:
        for reading in self._sources.read():
            attributes = self._attributes.get(reading.loader)
            # None: another thread is just adding it, or taking it away.
            if attributes is not None:
                own = {f"{_PREFIX}loader": reading.loader, f"{_PREFIX}worker": reading.worker}
                yield Observation(getattr(reading.stats, field), {**attributes, **own})


# An instrument cannot be taken back, and a second one of the same name is a mistake to OpenTelemetry: so a provider
# gets them once.
_by_provider: WeakKeyDictionary[MeterProvider, _Observed] = WeakKeyDictionary()


def _checked(attributes: Mapping[str, Value] | None) -> Mapping[str, Value]:
    reserved = {f"{_PREFIX}{label}" for label in LABELS if label != "rank"}
    for name, value in (attributes or {}).items():
        if name in reserved:
            raise ConfigError(f"attributes: {name!r} is set for each loader, and cannot be the same for all")
        if not isinstance(name, str) or not name or not isinstance(value, str | int | float):
            raise ConfigError(f"attributes: {name!r}: {value!r}: must be a text or a number under a name")
    return attributes or {}
