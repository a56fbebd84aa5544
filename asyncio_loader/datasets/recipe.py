"""How a delivery becomes a sample: transform, and what to do when it does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any, NoReturn, Protocol

from asyncio_loader.datasets.undecodable import is_undecodable
from asyncio_loader.errors import ConfigError, FetchError, LoaderError, TooManyFailures, TransformError
from asyncio_loader.options import OnError
from asyncio_loader.order.substitute import substitute_position
from asyncio_loader.records import Buffer, Failed, Fetched, ObjectRef, Outcome

__all__ = ["Made", "Objects", "Recipe", "Ref", "as_ref", "is_rejected"]

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


class Objects(Protocol):
    """Gives single objects, outside of the order."""

    def fetch(self, uri: str) -> tuple[Buffer, int]:
        """Its bytes and the number of GETs. Blocks; raises FetchError."""
        ...

    def refetch(self, uri: str) -> tuple[Buffer, int]:
        """Likewise, where what came first cannot be decoded."""
        ...


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
        fills_skipped: have a substitute that is marked as padding stand where ``on_error="skip"`` leaves a sample out,
            so that there are as many samples as positions.
        marks_substitutes: mark those of ``on_error="replace"``, too: where samples are judged one by one.
        named_by: which argument of the dataset says where objects are, for the error that ends a run; or nothing.
    """

    refs: Sequence[Ref]
    transform: Callable[[Fetched], Any] | None
    on_error: OnError
    on_void: OnError
    seed: int
    order: Sequence[int] = field(repr=False)
    fills_skipped: bool = False
    marks_substitutes: bool = False
    named_by: str = ""

    def make(self, outcome: Outcome, objects: Objects) -> Made | Failed:
        """Apply the transform; where it cannot decode the object, fetch that once more and try again.

        What the transform raises is an expected failure, except for a `ConfigError` and its like.
        """
        if isinstance(outcome, Failed):
            return outcome
        made = self._apply(outcome)
        if isinstance(made, Failed) and not is_rejected(made) and is_undecodable(outcome, made.error):
            return self._make_again(outcome, made.error, objects)
        return made

    def settle(self, made: Made | Failed, objects: Objects, note: Callable[[Failed], None]) -> Made | None:
        """Apply the policy: the sample, None to skip it, or raise.

        Args:
            made: of `make`.
            objects: for substitutes.
            note: called with what failed, once per place at most, however many substitutes fail as well, and not
                where the pipeline wants another sample. What it raises comes through.
        """
        place, is_padding, is_noted = made, False, False
        for attempt in range(1, _MAX_SUBSTITUTES + 2):
            if isinstance(made, Made):
                return made
            if not is_rejected(made) and not is_noted:
                note(made)
                is_noted = True
            policy = self.on_void if is_rejected(made) else self.on_error
            if policy == "raise":
                self._raise(made.error)
            if policy == "skip" and not self.fills_skipped:
                return None
            if attempt > _MAX_SUBSTITUTES:
                break
            is_padding |= policy == "skip" or (self.marks_substitutes and not is_rejected(made))
            made = self._substitute(made, attempt, objects, is_padding=is_padding)
        assert isinstance(place, Failed)
        assert isinstance(made, Failed)
        raise TooManyFailures(
            f"{_named(place)} — and none of {_MAX_SUBSTITUTES} substitutes could be had, the last "
            f"because of: {made.error}",
            keys=(place.ref.uri,),
        ) from made.error

    def _raise(self, error: LoaderError) -> NoReturn:
        if self.named_by and isinstance(error, FetchError):
            raise error.retold(f"{error} ({self.named_by})") from error.__cause__
        raise error

    def _apply(self, fetched: Fetched) -> Made | Failed:
        if self.transform is None:
            return Made(fetched)
        try:
            value = self.transform(fetched)
        except (FetchError, TransformError) as error:
            return _failed(fetched, error)
        except LoaderError:
            raise
        except Exception as error:  # noqa: BLE001 - the transform is the user's: whatever it raises is a failed sample
            return _failed(fetched, _wrapped(fetched, error))
        if value is None:
            return _failed(
                fetched,
                _VoidError(f"{fetched.ref.uri}: the transform returned None in place of a sample", key=fetched.ref.uri),
            )
        return Made(value)

    def _make_again(self, fetched: Fetched, error: LoaderError, objects: Objects) -> Made | Failed:
        try:
            data, attempts = objects.refetch(fetched.ref.uri)
        except FetchError as unfetched:
            unfetched.__cause__ = error
            return _failed(dataclasses.replace(fetched, attempts=fetched.attempts + unfetched.attempts), unfetched)
        return self._apply(dataclasses.replace(fetched, data=data, attempts=fetched.attempts + attempts))

    def _substitute(self, failed: Failed, attempt: int, objects: Objects, *, is_padding: bool) -> Made | Failed:
        place = substitute_position(
            len(self.order), seed=self.seed, epoch=failed.epoch, position=failed.position, attempt=attempt
        )
        index = int(self.order[place])
        ref, padding = as_ref(self.refs[index]), failed.is_padding or is_padding
        try:
            data, attempts = objects.fetch(ref.uri)
        except FetchError as error:
            return Failed(ref, error, failed.position, index, failed.epoch, padding, error.attempts)
        return self.make(Fetched(ref, data, failed.position, index, failed.epoch, padding, attempts), objects)


class _VoidError(TransformError):
    """The transform returned None."""


def is_rejected(failed: Failed) -> bool:
    """Whether nothing went wrong: the transform returned None, to have another sample."""
    return isinstance(failed.error, _VoidError)


def _named(failed: Failed) -> str:
    said = str(failed.error)
    return said if failed.ref.uri in said else f"{failed.ref.uri}: {said}"


def _failed(fetched: Fetched, error: LoaderError) -> Failed:
    return Failed(
        fetched.ref, error, fetched.position, fetched.index, fetched.epoch, fetched.is_padding, fetched.attempts
    )


def _wrapped(fetched: Fetched, error: Exception) -> TransformError:
    said = f"{fetched.ref.uri} (sample {fetched.index}): the transform raised {type(error).__name__}: {error}"
    wrapped = TransformError(said, key=fetched.ref.uri)
    wrapped.__cause__ = error
    return wrapped
