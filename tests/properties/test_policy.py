"""Whatever fails, on any ranks: equal steps, every good sample in its place, and the same substitutes as anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.errors import DecodeError
from asyncio_loader.options import OnError
from asyncio_loader.records import Fetched
from asyncio_loader.stores.memory import MemoryStore

COUNT = 23


@dataclass(frozen=True)
class Case:
    """What fails, how, and who loads it."""

    missing: frozenset[int]
    poison: frozenset[int]
    unwanted: frozenset[int]
    ranks: int
    batch_size: int
    drop_last: bool
    threads: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    # Few enough that ten substitutes in a row are never all bad: that would be an error of its own.
    numbers = st.frozensets(st.integers(0, COUNT - 1), max_size=3)
    return Case(
        *(draw(numbers) for _ in range(3)),
        ranks=draw(st.integers(1, 4)),
        batch_size=draw(st.integers(1, 7)),
        drop_last=draw(st.booleans()),
        threads=draw(st.sampled_from([0, 2])),
    )


@dataclass(frozen=True)
class _Look:
    case: Case

    def __call__(self, fetched: Fetched) -> Fetched | None:
        if fetched.index in self.case.poison:
            raise DecodeError(f"{fetched.ref.uri}: poison")
        return None if fetched.index in self.case.unwanted else fetched


def share(case: Case, rank: int, policy: OnError) -> list[list[Fetched]]:
    """The steps of a rank."""
    names = [f"memory://{n}" for n in range(COUNT)]
    dataset = AsyncIterableDataset(
        names,
        transform=_Look(case),
        shuffle=True,
        seed=1,
        batch_size=case.batch_size,
        drop_last=case.drop_last,
        storage=MemoryStore({name: b"" for n, name in enumerate(names) if n not in case.missing}),
        on_error=policy,
        max_failures=COUNT,
    )
    dataset.set_rank(rank, case.ranks)
    if case.threads:
        with Loader(dataset, case.batch_size, threads=case.threads) as loader:
            return list(loader)
    samples = list(dataset)
    return [samples[start : start + case.batch_size] for start in range(0, len(samples), case.batch_size)]


@given(cases(), st.sampled_from(["skip", "replace"]))
@settings(max_examples=100, deadline=None)
def test_ranks_keep_in_step_and_lose_nothing_but_what_failed(case: Case, policy: OnError) -> None:
    failing = case.missing | case.poison
    shares = [share(case, rank, policy) for rank in range(case.ranks)]
    alone = share(Case(case.missing, case.poison, case.unwanted, 1, 1, False, 0), 0, "replace")
    expected = {sample.position: sample for (sample,) in alone}

    fills = case.ranks > 1 or policy == "replace"
    if fills:
        assert len({tuple(len(step) for step in steps) for steps in shares}) == 1
    for sample in (sample for steps in shares for step in steps for sample in step):
        if sample.position >= COUNT:
            assert sample.is_padding
            continue
        wanted = expected.pop(sample.position)
        assert (sample.index, sample.epoch) == (wanted.index, wanted.epoch)
        assert sample.index not in failing | case.unwanted
        if policy == "replace":
            assert not sample.is_padding
    if not case.drop_last:
        assert fills or len(expected) <= len(failing) + len(case.unwanted)
        assert not fills or not expected
