"""How a delivery becomes a sample: transform, and what to do when it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

from asyncio_loader.errors import ConfigError, FetchError, LoaderError, TooManyFailures, TransformError
from asyncio_loader.options import OnError
from asyncio_loader.order.substitute import substitute_position
from asyncio_loader.records import Buffer, Failed, Fetched, ObjectRef, Outcome

__all__ = ["Made", "Recipe", "Ref", "as_ref"]

Ref = str | PathLike[str] | ObjectRef

# mmengine gives up after 1,000 refetches; ten strangers in a row that all fail are no accident.
_MAX_SUBSTITUTES = 10


def as_ref(item: Ref) -> ObjectRef:
    """An entry of the user's sequence as an `ObjectRef`."""
    if isinstance(item, ObjectRef):
        return item
    if isinstance(item, str | PathLike):
        return ObjectRef(fspath(item))
    raise ConfigError(f"refs must hold str URIs, paths or ObjectRef, not {type(item).__name__}: {item!r}")


@dataclass(frozen=True, slots=True)
class Made:
    """A sample that is ready for the consumer."""

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What every sample of an iteration is made by. Immutable; safe to share between threads if the transform is.

    Attributes:
        refs: the dataset's refs.
        transform: called with a `Fetched`; None hands out the `Fetched` itself.
        on_error: what to do about a sample that failed.
        on_void: what to do where the transform returned None: a pipeline's way to say "take another one".
        seed: of the substitutes.
        order: of the epoch: position → index. Substitutes are samples of it, so that what it leaves out stays out.
    """

    refs: Sequence[Ref]
    transform: Callable[[Fetched], Any] | None
    on_error: OnError
    on_void: OnError
    seed: int
    order: Sequence[int] = field(repr=False)

    def make(self, outcome: Outcome) -> Made | Failed:
        """Apply the transform. What it raises is an expected failure, except for a `ConfigError` and its like."""
        if isinstance(outcome, Failed):
            return outcome
        if self.transform is None:
            return Made(outcome)
        try:
            value = self.transform(outcome)
        except (FetchError, TransformError) as error:
            return _failed(outcome, error)
        except LoaderError:
            raise
        except Exception as error:  # noqa: BLE001 - the transform is the user's: whatever it raises is a failed sample
            return _failed(outcome, _wrapped(outcome, error))
        if value is None:
            return _failed(outcome, _VoidError(f"{outcome.ref.uri}: the pipeline returned None", key=outcome.ref.uri))
        return Made(value)

    def settle(self, made: Made | Failed, fetch: Callable[[str], tuple[Buffer, int]]) -> Made | None:
        """Apply the policy: the sample, None to skip it, or raise. `fetch` gets a substitute's bytes."""
        if isinstance(made, Made):
            return made
        policy = self.on_void if isinstance(made.error, _VoidError) else self.on_error
        if policy == "raise":
            raise made.error
        return None if policy == "skip" else self._substitute(made, fetch)

    def _substitute(self, failed: Failed, fetch: Callable[[str], tuple[Buffer, int]]) -> Made | None:
        error = failed.error
        for attempt in range(1, _MAX_SUBSTITUTES + 1):
            place = substitute_position(
                len(self.order), seed=self.seed, epoch=failed.epoch, position=failed.position, attempt=attempt
            )
            index = int(self.order[place])
            made = self.make(_refetch(as_ref(self.refs[index]), index, failed, fetch))
            if isinstance(made, Made):
                return made
            error = made.error
            if not isinstance(error, _VoidError) and self.on_error != "replace":
                # A pipeline asked for another sample, and that one is broken: which is no reason to look away.
                return self.settle(made, fetch)
        raise TooManyFailures(
            f"{failed.ref.uri}: {failed.error} — and none of {_MAX_SUBSTITUTES} substitutes could be had, the last "
            f"because of: {error}"
        ) from error


class _VoidError(TransformError):
    """The transform returned None."""


def _refetch(ref: ObjectRef, index: int, instead_of: Failed, fetch: Callable[[str], tuple[Buffer, int]]) -> Outcome:
    at = instead_of.position
    try:
        data, attempts = fetch(ref.uri)
    except FetchError as error:
        return Failed(ref, error, at, index, instead_of.epoch, instead_of.is_padding, error.attempts)
    return Fetched(ref, data, at, index, instead_of.epoch, instead_of.is_padding, attempts)


def _failed(fetched: Fetched, error: LoaderError) -> Failed:
    return Failed(
        fetched.ref, error, fetched.position, fetched.index, fetched.epoch, fetched.is_padding, fetched.attempts
    )


def _wrapped(fetched: Fetched, error: Exception) -> TransformError:
    said = f"{fetched.ref.uri} (sample {fetched.index}): the transform raised {type(error).__name__}: {error}"
    wrapped = TransformError(said, key=fetched.ref.uri)
    wrapped.__cause__ = error
    return wrapped
