"""A short run of the fuzz target, and the answers that were worth keeping."""

from __future__ import annotations

from tests.fuzz.http1 import CORPUS, load_corpus, run_cases
from tests.fuzz.reference import read_with_h11


def test_some_thousand_cases_go_well() -> None:
    outcomes = run_cases(range(8_000), seed=1)

    assert outcomes.total() == 8_000
    # Else the generator would test nothing but refusals.
    assert outcomes["valid", "delivered"] > 50
    assert sum(count for (_, outcome), count in outcomes.items() if outcome == "delivered") > 200
    assert len({kind for kind, _ in outcomes}) > 20


def test_the_corpus_has_answers_that_are_taken_and_such_that_are_not() -> None:
    names = {path.stem for path in CORPUS.glob("*.http")}
    good = {path.stem for path in CORPUS.glob("*.http") if read_with_h11(path.read_bytes()).is_whole}

    assert len(load_corpus()) == len(names)
    assert {"s3-get", "gateway-chunked", "interim"} <= good
    assert {"blank-before-colon", "two-lengths", "chunk-overflow", "length-beyond-memory"} <= names - good
