from __future__ import annotations

import os
from datetime import timedelta
from typing import NoReturn

import pytest
from torch import distributed

from asyncio_loader.errors import AccessDenied, ConfigError, LoaderError
from asyncio_loader.training import distributed as ours
from asyncio_loader.training.distributed import JoinedRanks, Ranks, joined_ranks, noticing_lost_ranks, teller_of
from tests.unit.training.crew import Crew, free_port

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def launched(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """The environment of the only rank there is, with changes; an empty value is none at all."""
    port = str(free_port())
    given = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in {**given, **values}.items():
        monkeypatch.setenv(name, value)


# One process.


def test_a_process_alone_is_rank_0_of_1() -> None:
    with joined_ranks() as ranks:
        assert (ranks.rank, ranks.world, ranks.is_main, ranks.is_distributed) == (0, 1, True, False)
        assert (ranks.exchange("x"), ranks.collect("x"), ranks.from_main(lambda: "x")) == (["x"], ["x"], "x")
    assert not distributed.is_initialized()


def test_a_process_alone_tells_its_own_errors() -> None:
    with pytest.raises(ConfigError, match="wrong") as caught, Ranks().agreed():
        raise ConfigError("wrong")

    assert teller_of(caught.value) is None


def test_the_rank_that_torchrun_started_alone_is_a_group_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch)

    with joined_ranks() as ranks:
        assert isinstance(ranks, JoinedRanks)
        assert (ranks.rank, ranks.world, ranks.is_distributed) == (0, 1, True)
        assert distributed.get_backend() == "gloo"
        with joined_ranks() as inner:
            assert inner.is_distributed
        # Whoever made the group ends it.
        assert distributed.is_initialized()
    assert not distributed.is_initialized()


@pytest.mark.parametrize("name", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_one_of_several_that_torchrun_did_not_start_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    launched(monkeypatch, WORLD_SIZE="2", **{name: ""})

    with pytest.raises(ConfigError, match=rf"^WORLD_SIZE=2 in the environment, but no {name}: start the ranks with"):
        joined_ranks().__enter__()


def test_a_scheduler_that_names_one_process_only_is_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")

    with joined_ranks() as ranks:
        assert not ranks.is_distributed


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK"])
@pytest.mark.parametrize("value", ["one", "-1", "1.0"])
def test_a_variable_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    launched(monkeypatch, **{name: value})

    with pytest.raises(ConfigError, match=rf"^{name}='{value}' in the environment: must be a whole number"):
        joined_ranks().__enter__()
    assert not distributed.is_initialized()


def test_who_finds_no_way_to_the_others_says_where_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, RANK="1", WORLD_SIZE="2")
    monkeypatch.setattr(ours, "_PATIENCE", timedelta(seconds=1))

    with pytest.raises(LoaderError, match=r"^rank 1 found no way to the others at 127\.0\.0\.1:\d+: "):
        joined_ranks().__enter__()
    assert not distributed.is_initialized()


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ConfigError("gloo")])
def test_what_is_no_lost_rank_comes_through(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, noticing_lost_ranks():
        raise error

    assert caught.value is error


def test_a_lost_rank_is_one_line_however_much_gloo_says() -> None:
    said = f"[third_party/gloo/pair.cc:545]\nConnection closed by peer{' and so on' * 99}"

    with pytest.raises(LoaderError, match="another rank has ended") as caught, noticing_lost_ranks():
        raise RuntimeError(said)

    assert "Connection closed by peer" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


# Two of them. What runs on the ranks is a function of this module.


def _describe(ranks: Ranks) -> tuple[int, int, int, bool, bool]:
    return ranks.rank, ranks.world, ranks.local_rank, ranks.is_main, ranks.is_distributed


def _exchange(ranks: Ranks) -> list[str]:
    return ranks.exchange(f"from {ranks.rank}")


def _collect(ranks: Ranks) -> list[str]:
    return ranks.collect(f"from {ranks.rank}")


def _from_main(ranks: Ranks) -> tuple[str, bool]:
    calls: list[str] = []

    def make() -> str:
        calls.append(f"made by {ranks.rank}")
        return calls[-1]

    return ranks.from_main(make), bool(calls)


def _fail(ranks: Ranks, errors: dict[int, Exception]) -> tuple[str, int | None, bool]:
    """What is raised on a rank, who tells of it, and whether it is this rank's very own."""
    own = errors.get(ranks.rank)
    try:
        with ranks.agreed():
            if own:
                raise own
    except LoaderError as error:
        return f"{type(error).__name__}: {error}", teller_of(error), error is own
    return "nothing", None, False


def _fail_to_make(ranks: Ranks) -> tuple[str, int | None]:
    def make() -> NoReturn:
        raise LoaderError("no")

    with pytest.raises(LoaderError) as caught:
        ranks.from_main(make)
    return f"LoaderError: {caught.value}", teller_of(caught.value)


def _lose_rank_1(ranks: Ranks) -> tuple[str, int | None]:
    if ranks.rank == 1:
        os._exit(1)
    with pytest.raises(LoaderError) as caught, noticing_lost_ranks(), ranks.agreed():
        pass
    return str(caught.value), teller_of(caught.value)


def _join_twice(ranks: Ranks) -> tuple[int, int]:
    with joined_ranks() as again:
        inner = again.rank
    return inner, len(ranks.exchange(None))


def test_ranks_know_who_they_are(crew: Crew) -> None:
    assert crew.run(_describe) == [(0, 2, 0, True, True), (1, 2, 1, False, True)]


def test_each_hears_of_all(crew: Crew) -> None:
    assert crew.run(_exchange) == [["from 0", "from 1"]] * 2


def test_rank_0_collects(crew: Crew) -> None:
    assert crew.run(_collect) == [["from 0", "from 1"], []]


def test_what_rank_0_makes_all_have(crew: Crew) -> None:
    assert crew.run(_from_main) == [("made by 0", True), ("made by 0", False)]


def test_a_group_that_is_there_is_used_and_stays(crew: Crew) -> None:
    assert crew.run(_join_twice) == [(0, 2), (1, 2)]


@pytest.mark.parametrize("failing", [0, 1])
def test_the_error_of_one_is_raised_on_all(crew: Crew, failing: int) -> None:
    outcomes = crew.run(_fail, {failing: AccessDenied("s3://b/k: no", key="s3://b/k")})

    # It keeps its type on the way from process to process, and its traceback on its own.
    assert outcomes == [("AccessDenied: s3://b/k: no", failing, rank == failing) for rank in (0, 1)]


def test_where_all_fail_the_first_one_speaks(crew: Crew) -> None:
    outcomes = crew.run(_fail, {0: ConfigError("of 0"), 1: ConfigError("of 1")})

    assert outcomes == [("ConfigError: of 0", 0, True), ("ConfigError: of 0", 0, False)]


def test_where_none_fails_nothing_is_raised(crew: Crew) -> None:
    assert crew.run(_fail, {}) == [("nothing", None, False)] * 2


def test_what_rank_0_fails_to_make_is_raised_on_all(crew: Crew) -> None:
    assert crew.run(_fail_to_make) == [("LoaderError: no", 0), ("LoaderError: no", 0)]


def test_who_waits_for_a_rank_that_is_gone_is_told_in_one_line() -> None:
    with Crew() as crew:
        (said, teller), nothing = crew.run(_lose_rank_1)

    assert nothing is None
    assert said.startswith("another rank has ended, or cannot be reached: ")
    assert "\n" not in said
    assert teller is None
