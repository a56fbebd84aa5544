"""How far an epoch is consumed, as a small dict that JSON takes, and whether it fits a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asyncio_loader.checks import MOST_INT64, whole_number
from asyncio_loader.datasets.position import Position
from asyncio_loader.datasets.recipe import Ref, as_ref
from asyncio_loader.datasets.stream import Progress
from asyncio_loader.errors import ConfigError, StateMismatch
from asyncio_loader.order.shard import Shard

__all__ = [
    "VERSION",
    "check_description",
    "describe_refs",
    "describe_shard",
    "digest_names",
    "make_state",
    "of_stateful_dataloader",
    "read_shard",
    "read_state",
]

VERSION = 1
"""Of the state and of all that gives the same (seed, epoch, position) the same sample."""

# A few names of a data set tell it from any other; all of them would take minutes of 100 million.
_NAMES = 32


def make_state(position: Position, description: Mapping[str, Any]) -> dict[str, Any]:
    """The state. JSON takes it, and so does ``torch.load(weights_only=True)``.

    Args:
        position: epoch, and positions of it that were consumed over all ranks.
        description: of the order; equal exactly if the order is.
    """
    return {
        "version": VERSION,
        "epoch": position.epoch,
        "consumed": position.start,
        "plan": dict(description),
    }


def read_state(state: Mapping[str, Any]) -> tuple[Position, Mapping[str, Any] | None]:
    """Position and description of a state of `make_state`, or of ``{"epoch": e, "consumed": n}``.

    Raises:
        StateMismatch: it is none, or one of another version.
    """
    if not isinstance(state, Mapping) or not {"epoch", "consumed"} <= state.keys():
        raise StateMismatch(
            f"a state has 'epoch' and 'consumed', which {_shown(state)} has not; that of torchdata's "
            "StatefulDataLoader goes through asyncio_loader.datasets.state.of_stateful_dataloader first"
        )
    version = state.get("version", VERSION)
    if version != VERSION:
        raise StateMismatch(f"the state is of version {version!r}, and this asyncio_loader reads version {VERSION}")
    unknown = state.keys() - {"version", "epoch", "consumed", "plan", "shard"}
    if unknown:
        raise StateMismatch(f"a state has no {', '.join(map(repr, sorted(unknown)))}")
    plan = state.get("plan")
    if plan is not None and not isinstance(plan, Mapping):
        raise StateMismatch(f"plan of a state must be a dict, not {_shown(plan)}")
    return Position(_count(state, "epoch"), _count(state, "consumed")), plan


def check_description(saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse the state of another plan.

    Raises:
        StateMismatch: names all that differs.
    """
    keys = [*own, *(key for key in saved if key not in own)]
    absent = "none"
    differences = [
        f"{key} is {saved.get(key, absent)!r} in the state and {own.get(key, absent)!r} here"
        for key in keys
        if saved.get(key, absent) != own.get(key, absent)
    ]
    if differences:
        raise StateMismatch(f"the state belongs to another plan: {'; '.join(differences)}")


def describe_refs(refs: Sequence[Ref]) -> dict[str, Any]:
    """Number of the samples, and a digest of the names of a few.

    Names without the directories before them: a data set that moved to another bucket is still the same.
    """
    count = len(refs)
    places = sorted({i * (count - 1) // max(1, _NAMES - 1) for i in range(_NAMES)})
    return {"samples": count, "names": digest_names(as_ref(refs[place]).uri for place in places)}


def digest_names(uris: Iterable[str]) -> str:
    """A short hash of names in their order, without the directories before them."""
    digest = hashlib.blake2b(digest_size=6, person=b"al-refs")
    for uri in uris:
        digest.update(uri.rpartition("/")[2].encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def describe_shard(progress: Progress) -> dict[str, int]:
    """How far one worker is: what torchdata's StatefulDataLoader keeps of each, and gives back to it."""
    plan, shard = progress.part.plan, progress.part.shard
    return {
        "rank": shard.rank,
        "ranks": plan.ranks,
        "worker": shard.worker,
        "workers": shard.workers,
        "batch_size": plan.batch_size,
        "start": plan.start,
        "passed": progress.passed,
        "next_step": progress.next_step,
        "steps": plan.steps_left,
        "length": plan.length,
    }


def read_shard(
    shard: Mapping[str, int], epoch: int, own: Shard | None, ranks: int, batch_size: int
) -> tuple[Position, int]:
    """Where a worker goes on from a state of `describe_shard`, and how many of its samples it leaves out.

    Args:
        shard: the state.
        epoch: of the state.
        own: which worker this is; None: it is none.
        ranks: number of ranks.
        batch_size: samples per batch.

    Raises:
        StateMismatch: it is another worker's, or one of another number of ranks, workers or batch size.
    """
    names = ("rank", "ranks", "worker", "workers", "batch_size")
    here = own and (own.rank, ranks, own.worker, own.workers, batch_size)
    if here != tuple(shard.get(name) for name in names):
        raise StateMismatch(
            "this is the state of one worker of a StatefulDataLoader with other workers, ranks or batches: pass the "
            "whole state to asyncio_loader.datasets.state.of_stateful_dataloader, and what that gives to a Loader or "
            "to a dataset"
        )
    return Position(epoch, shard["start"]), shard["passed"]


def of_stateful_dataloader(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of torchdata's `StatefulDataLoader` over one of our datasets as ours, for any other geometry.

    torchdata's own resume needs as many workers as before; this one goes to a `Loader`, or to a dataset in any
    DataLoader, on any number of ranks. The state of any rank will do.

    Under ``on_error="skip"`` with workers, whose batches shift, what some worker has not got through comes again.

    Raises:
        StateMismatch: it is not such a state, or of a dataset of another kind.
    """
    try:
        if "_snapshot" in state:
            workers = [worker["dataset_state"] for worker in state["_snapshot"]["_worker_snapshots"].values()]
            more_steps = state["_steps_since_snapshot"]
        else:
            workers, more_steps = [state["dataset_state"]], 0
        return _merge(workers, more_steps)
    except (LookupError, TypeError, AttributeError) as error:
        raise StateMismatch(
            f"not a state of a StatefulDataLoader over an AsyncIterableDataset: {_shown(state)}"
        ) from error


def _merge(states: Sequence[Mapping[str, Any]], more_steps: int) -> dict[str, Any]:
    first = states[0]
    read_state(first)
    shard = first.get("shard")
    if shard is None:
        # Without workers it is the state of all.
        return dict(first)
    # Workers take the steps in turn: all before the one that somebody has yet to do are done.
    steps = min(state["shard"]["next_step"] for state in states) + more_steps
    consumed = shard["start"] + steps * shard["batch_size"] * shard["ranks"]
    is_over = steps >= shard["steps"]
    merged = {key: value for key, value in first.items() if key != "shard"}
    return merged | {"consumed": shard["length"] if is_over else consumed}


def _count(state: Mapping[str, Any], key: str) -> int:
    value = state[key]
    try:
        return whole_number(f"{key} of a state", value, least=0, most=MOST_INT64)
    except ConfigError as error:
        raise StateMismatch(str(error)) from None


def _shown(state: object) -> str:
    text = repr(state)
    return text if len(text) <= 80 else f"{text[:79]}…"
