from __future__ import annotations

import pickle
from typing import Any

import pytest

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.errors import ConfigError
from asyncio_loader.options import FetchOptions, RetryPolicy, S3Options


@pytest.mark.parametrize(
    ("kind", "name", "value", "rule"),
    [
        (FetchOptions, "max_in_flight", 0, "a whole number of at least 1"),
        (FetchOptions, "max_in_flight", True, "a whole number of at least 1"),
        (FetchOptions, "max_in_flight_per_node", 0, "a whole number of at least 1"),
        (FetchOptions, "window_bytes", 1.5, "a whole number of at least 1"),
        (FetchOptions, "window_items", -1, "a whole number of at least 1"),
        (FetchOptions, "decoded_bytes", "1", "a whole number of at least 1"),
        (FetchOptions, "verify", "sometimes", "one of ('auto', 'always', 'never')"),
        (FetchOptions, "verify", True, "one of ('auto', 'always', 'never')"),
        (FetchOptions, "retry", 3, "a RetryPolicy"),
        (RetryPolicy, "max_attempts", 0, "a whole number of at least 1"),
        (RetryPolicy, "deadline_s", 0, "a number of seconds above 0"),
        (RetryPolicy, "stall_timeout_s", -1.0, "a number of seconds above 0"),
        (RetryPolicy, "backoff_initial_s", -0.1, "a number of seconds, 0 or more"),
        (S3Options, "endpoint_url", "localhost:9000", "a URL that starts with http:// or https://"),
        (S3Options, "region_name", "", "a non-empty string"),
        (S3Options, "addressing", "host", "one of"),
        (S3Options, "transport", "curl", "one of"),
        (S3Options, "anonymous", "yes", "True or False"),
        (S3Options, "part_size_bytes", 1024, "at least 5 MiB"),
        (S3Options, "parts_in_flight", 0, "a whole number of at least 1"),
    ],
)
def test_a_wrong_value_is_refused_with_class_field_and_value(kind: Any, name: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**{name: value})

    assert str(caught.value).startswith(f"{kind.__name__}.{name} must be {rule}")
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("options", [FetchOptions(), RetryPolicy(), S3Options()])
def test_they_are_values(options: Any) -> None:
    assert pickle.loads(pickle.dumps(options)) == options
    assert hash(options) == hash(type(options)())


@pytest.mark.parametrize("kind", [FetchOptions, RetryPolicy, S3Options])
def test_every_field_is_explained(kind: Any) -> None:
    for name in kind.__dataclass_fields__:
        assert f"\n        {name}: " in kind.__doc__


def test_a_config_may_use_the_names_of_s3_options() -> None:
    assert {"endpoint_url", "region_name", "profile_name", "anonymous"} <= S3Options.field_names()


def test_options_may_be_written_as_a_config_has_them() -> None:
    given = {"max_in_flight": 64, "retry": {"max_attempts": 3}}

    assert FetchOptions.of(given) == FetchOptions(max_in_flight=64, retry=RetryPolicy(max_attempts=3))
    assert FetchOptions.of(FetchOptions(max_in_flight=3)) == FetchOptions(max_in_flight=3)


def test_a_dataset_takes_them_so() -> None:
    dataset = AsyncIterableDataset(["memory://a"], options={"window_items": 7})

    assert dataset.options == FetchOptions(window_items=7)


def test_an_endpoint_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match=r"S3Options\.endpoint_url must hold no user and no password") as caught:
        S3Options(endpoint_url="http://user:sekret@127.0.0.1:x")

    assert "sekret" not in str(caught.value)
