from __future__ import annotations

import inspect
import pickle

import pytest
from torch._utils import ExceptionWrapper

from asyncio_loader import errors

CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", CLASSES)
def test_all_have_one_root_and_stand_in_the_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.LoaderError)
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", CLASSES)
def test_one_message_is_enough_and_survives_a_pickle(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind("s3://b/k: gone")))

    assert type(error) is kind
    assert str(error) == "s3://b/k: gone"


@pytest.mark.parametrize("kind", CLASSES)
def test_torch_can_raise_them_again_in_the_main_process(kind: type[Exception]) -> None:
    assert not hasattr(kind, "message")
    try:
        raise kind("s3://b/k: gone after 3 attempts")
    except errors.LoaderError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")

    with pytest.raises(kind, match="s3://b/k: gone after 3 attempts"):
        wrapped.reraise()


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.ObjectNotFound, FileNotFoundError),
        (errors.AccessDenied, PermissionError),
        (errors.ConnectionLost, ConnectionError),
        (errors.FetchTimeout, TimeoutError),
    ],
)
def test_those_with_a_builtin_kin_are_caught_as_it(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


def test_attributes_survive_a_pickle() -> None:
    error = pickle.loads(pickle.dumps(errors.ObjectNotFound("gone", key="s3://b/k", attempts=3, elapsed_s=1.5)))

    assert (error.key, error.attempts, error.elapsed_s) == ("s3://b/k", 3, 1.5)


def test_nothing_is_missing_from_the_exports() -> None:
    defined = {name for name, value in vars(errors).items() if inspect.isclass(value)}

    assert defined == set(errors.__all__)
