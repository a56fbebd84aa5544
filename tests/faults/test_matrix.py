"""Every fault, at the first, a middle and the last object, under every policy: the right samples in the right order.

A trouble is met once (*passing*) or by every request of an object (*lasting*). Its nine cases (position × policy) run
side by side in front of one simulator, each over objects of its own, because most of their time is waiting for
timeouts; then each is looked at in a test of its own.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import pytest

from asyncio_loader import AsyncIterableDataset, Fetched, FetchOptions, Loader, RetryPolicy, S3Options
from asyncio_loader.errors import (
    AccessDenied,
    ChecksumMismatch,
    ConfigError,
    ConnectionLost,
    FetchError,
    FetchTimeout,
    LoaderError,
    ObjectNotFound,
    ServerFault,
    ShortRead,
    Throttled,
    TooManyFailures,
)
from asyncio_loader.options import OnError
from asyncio_loader.order.substitute import substitute_position
from asyncio_loader.testing import Fault, S3Simulator, scripted_names

COUNT, SEED = 12, 3
PLACES = {"first": 0, "middle": COUNT // 2, "last": COUNT - 1}
POLICIES: tuple[OnError, ...] = get_args(OnError)
BODIES = [hashlib.sha256(str(n).encode()).digest() * (100 + 7 * n) for n in range(COUNT)]
TIMEOUT_S = 1.0
RETRY = RetryPolicy(
    max_attempts=2,
    backoff_initial_s=0.01,
    connect_timeout_s=5,
    first_byte_timeout_s=TIMEOUT_S,
    stall_timeout_s=TIMEOUT_S,
    slow_attempt_s=0,
)

Strength = Literal["passing", "lasting"]


class Sample(NamedTuple):
    """What the transform makes of an object: where it stands, which one it is, and a digest of its bytes."""

    position: int
    index: int
    digest: str


def look(fetched: Fetched) -> Sample:
    return Sample(fetched.position, fetched.index, hashlib.sha256(fetched.data).hexdigest())


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What an object's requests meet, and what shall come of it.

    Attributes:
        name: for the test's name.
        fault: of one request; key and times are the case's.
        error: what it means if it lasts; None: the object comes all the same.
        is_cured: another GET brings the object, where the trouble has passed.
        gets: GETs of the object if the trouble lasts; None: it depends on the clock, or on whether a connection was
            used before.
        retry: when to try again, if the trouble lasts.
    """

    name: str
    fault: Fault
    error: type[LoaderError] | None = None
    is_cured: bool = True
    gets: int | None = None
    retry: RetryPolicy = RETRY

    @property
    def strengths(self) -> tuple[Strength, ...]:
        """What is not cured by another GET cannot be told from what lasts."""
        return ("passing", "lasting") if self.is_cured else ("lasting",)


def status(name: str, error: type[LoaderError] | None, *, gets: int | None = 2, **fields: Any) -> Trouble:
    return Trouble(name=name, fault=Fault("status", **fields), error=error, gets=gets, is_cured=gets != 1)


def cut(kind: Any, error: type[LoaderError], **places: dict[str, int]) -> list[Trouble]:
    """One trouble per place. What ends a used connection before its answer is asked again at once: no attempt."""
    return [
        Trouble(
            name=f"{kind} {name.replace('_', ' ')}",
            fault=Fault(kind, **place),
            error=error,
            gets=None if place.get("head_bytes") == 0 and kind != "stall" else 2,
        )
        for name, place in places.items()
    ]


PLACES_OF_A_CUT: dict[str, dict[str, int]] = {
    "before_the_head": {"head_bytes": 0},
    "in_the_head": {"head_bytes": 20},
    "after_the_head": {"after_bytes": 0},
    "in_the_body": {"after_bytes": 1500},
}

TROUBLES = [
    status("500", ServerFault, status=500),
    status("502", ServerFault, status=502),
    status("503 ServiceUnavailable", ServerFault, code="ServiceUnavailable"),
    status("403", AccessDenied, status=403, gets=1),
    status("404", ObjectNotFound, status=404, gets=1),
    status("400", AccessDenied, status=400, code="InvalidToken", gets=1),
    # The client asks the region that it is told, once and for all.
    status("301 with a region", None, status=301, region="eu-west-1", credential="*/us-east-1/*"),
    replace(
        status("503 SlowDown", Throttled, gets=None),
        # It is asked until the deadline: throttling costs no attempts.
        retry=replace(RETRY, deadline_s=0.5, throttle_backoff_max_s=0.1),
    ),
    *cut("reset", ConnectionLost, **PLACES_OF_A_CUT),
    *cut("stall", FetchTimeout, **PLACES_OF_A_CUT),
    *cut("short", ConnectionLost, before_the_head={"head_bytes": 0}, in_the_head={"head_bytes": 20}),
    *cut("short", ShortRead, after_the_head={"after_bytes": 0}, in_the_body={"after_bytes": 1500}),
    Trouble(name="one byte is missing", fault=Fault("length", length_error_bytes=1), error=FetchTimeout, gets=2),
    Trouble(name="more than was announced", fault=Fault("length", length_error_bytes=-5), error=ServerFault, gets=2),
    # Length, ETag and checksum are those of the true object.
    Trouble(name="one bit is wrong", fault=Fault("corrupt"), error=ChecksumMismatch, gets=2),
    Trouble(name="slow", fault=Fault("slow", delay_s=TIMEOUT_S / 4), gets=1),
    Trouble(name="slow beyond the timeout", fault=Fault("slow", delay_s=600), error=FetchTimeout, gets=2),
    Trouble(name="drip", fault=Fault("drip", bytes_s=40_000), gets=1),
    Trouble(name="drip at a crawl", fault=Fault("drip", bytes_s=100), error=FetchTimeout, gets=2),
    Trouble(name="the answer comes twice", fault=Fault("extra"), error=ServerFault, gets=2),
    Trouble(name="rubbish after the answer", fault=Fault("extra", after_bytes=9), error=ServerFault, gets=2),
    Trouble(name="close announced", fault=Fault("close"), gets=1),
    Trouble(name="close unannounced", fault=Fault("hangup"), gets=1),
]


class Case(NamedTuple):
    """One cell of the matrix."""

    place: str
    policy: OnError

    @property
    def position(self) -> int:
        return PLACES[self.place]

    def key(self, index: int) -> str:
        return f"{self.place}-{self.policy}/{index:02}"


CASES = [Case(place, policy) for place, policy in product(PLACES, POLICIES)]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a case came to.

    Attributes:
        samples: that came, in the order in which they came.
        error: what ended the iteration, or None.
        gets: GETs of each object, by index.
    """

    samples: list[Sample]
    error: LoaderError | None = None
    gets: Counter[int]


def open_dataset(
    simulator: S3Simulator, case: Case, retry: RetryPolicy = RETRY, **options: Any
) -> AsyncIterableDataset:
    given: dict[str, Any] = {"storage": S3Options(endpoint_url=simulator.endpoint_url), "in_flight": 4, **options}
    return AsyncIterableDataset(
        [simulator.uri(case.key(index)) for index in range(COUNT)],
        transform=look,
        shuffle=True,
        seed=SEED,
        on_error=case.policy,
        max_failures=1,
        storage=given["storage"],
        # A second GET of what is slow would be one too many here.
        options=FetchOptions(
            max_in_flight=given["in_flight"], window_items=given.get("items", 1024), retry=retry, hedge=0
        ),
    )


def whole_order() -> list[int]:
    """Which object stands at each position: the same for all cases."""
    plan = AsyncIterableDataset([str(index) for index in range(COUNT)], shuffle=True, seed=SEED).plan(1)
    return [plan.index_at(position) for position in range(COUNT)]


ORDER = whole_order()


def iterate(dataset: AsyncIterableDataset) -> Outcome:
    samples: list[Sample] = []
    error = None
    with Loader(dataset, 1, threads=1) as loader:
        try:
            samples.extend(sample for (sample,) in loader)
        except LoaderError as caught:
            error = caught
    return Outcome(samples=samples, error=error, gets=Counter())


def count_gets(simulator: S3Simulator, outcomes: Mapping[Case, Outcome]) -> dict[Case, Outcome]:
    """The outcomes with what the server saw; its log is empty then."""
    gets = Counter(record.key for record in simulator.requests(clear=True) if record.method == "GET")
    return {
        case: replace(outcome, gets=Counter({index: gets[case.key(index)] for index in range(COUNT)}))
        for case, outcome in outcomes.items()
    }


def sound(position: int, index: int) -> Sample:
    return Sample(position, index, hashlib.sha256(BODIES[index]).hexdigest())


ALL_SAMPLES = [sound(position, index) for position, index in enumerate(ORDER)]


def stand_in(position: int) -> int:
    """The object that stands in at a position: arithmetic, done here once more."""
    for attempt in range(1, 11):
        place = substitute_position(COUNT, seed=SEED, epoch=0, position=position, attempt=attempt)
        if place != position:
            return ORDER[place]
    raise AssertionError("no substitute")


def check_all_came(case: Case, outcome: Outcome, gets: int | None) -> None:
    """Every sample, each in its place; the other objects took one GET each."""
    assert outcome.error is None
    assert outcome.samples == ALL_SAMPLES
    expected = Counter(dict.fromkeys(range(COUNT), 1))
    met = ORDER[case.position]
    expected[met] = outcome.gets[met] if gets is None else gets
    assert outcome.gets == expected


def check_one_failed(case: Case, outcome: Outcome, error: type[LoaderError], gets: int | None) -> None:
    """What the policy makes of it, and no more."""
    position, met = case.position, ORDER[case.position]
    before, after = ALL_SAMPLES[:position], ALL_SAMPLES[position + 1 :]
    expected = Counter(dict.fromkeys(range(COUNT), 1))
    expected[met] = outcome.gets[met] if gets is None else gets
    if case.policy == "raise":
        assert outcome.samples == before
        assert type(outcome.error) is error
        assert case.key(met) in str(outcome.error)
        # How far the look-ahead had come is a matter of the clock; nothing was fetched twice.
        assert outcome.gets <= expected
        return
    assert outcome.error is None
    if case.policy == "skip":
        assert outcome.samples == [*before, *after]
    else:
        substitute = stand_in(position)
        assert outcome.samples == [*before, sound(position, substitute), *after]
        expected[substitute] += 1
    assert outcome.gets == expected


def objects() -> Iterator[tuple[str, bytes]]:
    return ((case.key(index), BODIES[index]) for case in CASES for index in range(COUNT))


@contextmanager
def only_these_of_aws(values: Mapping[str, str]) -> Iterator[None]:
    """These variables and no others: fixtures of a module run before those that see to it for each test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in values.items():
            patch.setenv(name, value)
        yield


KEYS = {"AWS_ACCESS_KEY_ID": "simulator", "AWS_SECRET_ACCESS_KEY": "simulator"}


@pytest.fixture(autouse=True)
def _keys() -> Iterator[None]:
    with only_these_of_aws(KEYS):
        yield


@pytest.fixture(scope="module")
def simulator() -> Iterator[S3Simulator]:
    with S3Simulator(objects()) as simulator:
        yield simulator


def run_beside(cases: list[Case], run: Callable[[Case], Outcome]) -> dict[Case, Outcome]:
    with ThreadPoolExecutor(len(cases)) as threads:
        return dict(zip(cases, threads.map(run, cases), strict=True))


class Group(NamedTuple):
    """The cases that run side by side."""

    trouble: Trouble
    strength: Strength


GROUPS = [Group(trouble, strength) for trouble in TROUBLES for strength in trouble.strengths]
each_place = pytest.mark.parametrize("place", PLACES)
each_policy = pytest.mark.parametrize("policy", POLICIES)


@pytest.fixture(scope="module", params=GROUPS, ids=lambda group: f"{group.trouble.name}, {group.strength}")
def group(request: pytest.FixtureRequest, simulator: S3Simulator) -> tuple[Group, dict[Case, Outcome]]:
    group: Group = request.param
    trouble = group.trouble
    times, retry = (1, RETRY) if group.strength == "passing" else (None, trouble.retry)
    simulator.set_faults([replace(trouble.fault, key=case.key(ORDER[case.position]), times=times) for case in CASES])
    with only_these_of_aws(KEYS):
        outcomes = run_beside(CASES, lambda case: iterate(open_dataset(simulator, case, retry)))
    return group, count_gets(simulator, outcomes)


@each_policy
@each_place
def test_a_request_meets_it(group: tuple[Group, dict[Case, Outcome]], place: str, policy: OnError) -> None:
    (trouble, strength), outcomes = group
    case = Case(place, policy)
    outcome = outcomes[case]

    if trouble.error is None:
        check_all_came(case, outcome, trouble.gets)
    elif strength == "passing":
        check_all_came(case, outcome, 2)
    else:
        check_one_failed(case, outcome, trouble.error, trouble.gets)


# Connections: the n-th object comes over the n-th one, where each is closed after one answer.


def run_over_connections(simulator: S3Simulator, case: Case, kind: Any, times: int, storage: S3Options) -> Outcome:
    simulator.set_faults([Fault(kind, skip=case.position, times=times), Fault("close")])
    outcome = iterate(open_dataset(simulator, case, storage=storage, in_flight=1))
    return count_gets(simulator, {case: outcome})[case]


@pytest.fixture(scope="module")
def tls_simulator() -> Iterator[S3Simulator]:
    with S3Simulator(objects(), tls=True) as simulator:
        yield simulator


@pytest.mark.parametrize("times", [1, RETRY.max_attempts], ids=["passing", "lasting"])
@each_policy
@each_place
def test_a_connection_is_reset_as_soon_as_it_is_made(
    simulator: S3Simulator, place: str, policy: OnError, times: int
) -> None:
    case = Case(place, policy)
    storage = S3Options(endpoint_url=simulator.endpoint_url)
    outcome = run_over_connections(simulator, case, "connect", times, storage)

    if times == 1:
        check_all_came(case, outcome, 1)
    else:
        check_one_failed(case, outcome, ConnectionLost, 0)


@pytest.mark.parametrize("times", [1, RETRY.max_attempts], ids=["passing", "lasting"])
@each_policy
@each_place
def test_a_tls_handshake_is_broken_off(tls_simulator: S3Simulator, place: str, policy: OnError, times: int) -> None:
    case = Case(place, policy)
    storage = S3Options(endpoint_url=tls_simulator.endpoint_url, ca_bundle=tls_simulator.ca_bundle)
    outcome = run_over_connections(tls_simulator, case, "handshake", times, storage)

    if times == 1:
        check_all_came(case, outcome, 1)
    else:
        check_one_failed(case, outcome, ConnectionLost, 0)


@each_policy
def test_nobody_vouches_for_the_server(tls_simulator: S3Simulator, policy: OnError) -> None:
    """It is no matter of one object: no policy gets past it."""
    tls_simulator.set_faults([])
    outcome = iterate(open_dataset(tls_simulator, Case("first", policy)))

    assert outcome.samples == []
    assert type(outcome.error) is (FetchError if policy == "raise" else TooManyFailures)
    assert "ca_bundle" in str(outcome.error)
    assert tls_simulator.requests() == []


@each_policy
def test_the_bucket_is_nobody_says_where(simulator: S3Simulator, policy: OnError) -> None:
    case = Case("middle", policy)
    simulator.set_faults([Fault("status", status=301, key=case.key(ORDER[case.position]))])
    outcome = iterate(open_dataset(simulator, case))

    assert outcome.samples == ALL_SAMPLES[: case.position]
    assert type(outcome.error) is ConfigError
    assert "S3Options.region_name" in str(outcome.error)


@each_policy
@each_place
def test_the_server_moves_to_another_address(place: str, policy: OnError) -> None:
    """One that is gone is asked for by its name again."""
    case = Case(place, policy)
    with ExitStack() as stack:
        here = stack.enter_context(S3Simulator(objects()))
        there = stack.enter_context(S3Simulator(objects(), host="127.0.0.2", port=here.port))
        names = stack.enter_context(scripted_names({"s3.test": ["127.0.0.1"]}))

        def move() -> None:
            names.addresses["s3.test"] = ["127.0.0.2"]
            here.close()

        storage = S3Options(endpoint_url=f"http://s3.test:{there.port}")
        # The request that was under way, one that finds nobody, one that asks for the name.
        retry = replace(RETRY, max_attempts=3)
        samples = []
        if case.position == 0:
            move()
        # One object waits at the most: the one before the case's may be here already, the case's own is not.
        for sample in open_dataset(there, case, retry, storage=storage, in_flight=1, items=1):
            samples.append(sample)
            if len(samples) == case.position - 1:
                move()

        assert samples == ALL_SAMPLES
        asked = [record.key for record in there.requests()]
        keys = [case.key(index) for index in ORDER]
        assert asked in (keys[case.position :], keys[max(0, case.position - 1) :])


@each_policy
@each_place
def test_keys_expire_and_others_are_to_be_had(
    simulator: S3Simulator, place: str, policy: OnError, tmp_path: Path
) -> None:
    """Whoever hands out keys gives the old ones at first, as a session does that nears its end."""
    case = Case(place, policy)
    was_asked = tmp_path / "was-asked"
    script = tmp_path / "keys"
    script.write_text(
        f"#!/bin/sh\nif [ -e '{was_asked}' ]; then key=NEW; else key=OLD; touch '{was_asked}'; fi\n"
        'echo "{\\"Version\\": 1, \\"AccessKeyId\\": \\"$key\\", \\"SecretAccessKey\\": \\"not-a-secret\\"}"\n'
    )
    script.chmod(0o700)
    config = tmp_path / "config"
    config.write_text(f"[default]\nregion = us-east-1\ncredential_process = {script}\n")
    key = case.key(ORDER[case.position])
    simulator.set_faults([Fault("status", status=400, code="ExpiredToken", key=key, credential="OLD/*")])
    with only_these_of_aws({"AWS_CONFIG_FILE": str(config), "AWS_EC2_METADATA_DISABLED": "true"}):
        outcome = iterate(open_dataset(simulator, case))

    check_all_came(case, count_gets(simulator, {case: outcome})[case], 2)


@each_policy
@pytest.mark.parametrize("offset_s", [3600.0, -3600.0], ids=["ahead", "behind"])
def test_the_clock_is_wrong_by_an_hour(policy: OnError, offset_s: float) -> None:
    """Those that are signed before the first answer are refused, each once; from then on the time is the server's."""
    case = Case("first", policy)
    with S3Simulator(objects(), clock_offset_s=offset_s) as simulator:
        outcome = iterate(open_dataset(simulator, case))
        faults = Counter(record.fault for record in simulator.requests())

    assert outcome.error is None
    assert outcome.samples == ALL_SAMPLES
    assert faults.keys() == {None, "skew"}
    assert faults[None] == COUNT
    assert 1 <= faults["skew"] <= 4
