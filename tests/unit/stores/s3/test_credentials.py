"""Who asks: found off the loop, renewed in time, in one flight."""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from botocore.session import Session

from asyncio_loader.errors import AccessDenied, ConnectionLost, FetchError
from asyncio_loader.stores.s3 import credentials as credentials_module
from asyncio_loader.stores.s3.credentials import Credentials
from asyncio_loader.stores.s3.sigv4 import Keys


def _credentials(profile: str | None = None) -> Credentials:
    return Credentials(Session(profile=profile), profile or "default")


async def _outcomes(call: Callable[[], Awaitable[Keys]]) -> list[Any]:
    """What 200 calls at the same moment return or raise."""

    async def settle() -> Keys | FetchError:
        try:
            return await call()
        except FetchError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(settle()) for _ in range(200)]
    return [task.result() for task in tasks]


class FakeChain:
    """A botocore session whose credentials have as long to live as a test says.

    Attributes:
        left_s: that.
        asked: how often keys were asked for.
        error: what comes instead.
        may_answer: whoever asks waits for it.
    """

    method = "fake"

    def __init__(self) -> None:
        self.left_s = 3600.0
        self.asked = 0
        self.error: Exception | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.threads: set[int] = set()

    def get_credentials(self) -> FakeChain:
        return self

    def instance_variables(self) -> dict[str, str]:
        return {"profile": "lab"}

    def refresh_needed(self, ahead_s: float | None = None) -> bool:
        return self.left_s < (900 if ahead_s is None else ahead_s)

    def get_frozen_credentials(self) -> Any:
        self.asked += 1
        self.threads.add(threading.get_ident())
        assert self.may_answer.wait(30)
        if self.error is not None:
            raise self.error
        self.left_s = 3600.0
        return type("Frozen", (), {"access_key": f"key{self.asked}", "secret_key": "secret", "token": None})()


@pytest.fixture
def _process_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile whose keys come from a command and are always about to expire."""
    answer = {
        "Version": 1,
        "AccessKeyId": "AKIDPROCESS",
        "SecretAccessKey": "process-secret",
        "SessionToken": "process-token",
        "Expiration": (datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=1)).isoformat(),
    }
    script = tmp_path / "keys.py"
    script.write_text(f"print({json.dumps(answer)!r})\n")
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


async def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "env-token")

    keys = await _credentials().renew_keys()

    assert (keys.key_id, keys.secret, keys.token) == ("AKIDENV", "env-secret", "env-token")


async def test_keys_come_from_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = AKIDLAB\naws_secret_access_key = lab-secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    assert (await _credentials("lab").renew_keys()).key_id == "AKIDLAB"


async def test_missing_credentials_say_where_they_were_looked_for() -> None:
    with pytest.raises(AccessDenied) as caught:
        await _credentials().renew_keys()

    for place in ("AWS_ACCESS_KEY_ID", "profile 'default'", "SSO", "instance metadata", "S3Options.anonymous"):
        assert place in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_half_a_pair_of_keys_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")

    with pytest.raises(AccessDenied, match="AWS_SECRET_ACCESS_KEY"):
        await _credentials().renew_keys()


async def test_keys_are_asked_for_off_the_loop() -> None:
    chain = FakeChain()

    await Credentials(chain, "default").renew_keys()  # type: ignore[arg-type]

    assert threading.get_ident() not in chain.threads


async def test_keys_that_need_no_renewal_are_at_hand() -> None:
    chain = FakeChain()
    credentials = Credentials(chain, "default")  # type: ignore[arg-type]
    assert credentials.fresh_keys() is None

    keys = await credentials.renew_keys()

    assert credentials.fresh_keys() is keys
    assert chain.asked == 1


async def test_concurrent_callers_share_one_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials_module, "_CHECK_S", 0.0)
    chain = FakeChain()
    credentials = Credentials(chain, "default")  # type: ignore[arg-type]
    await credentials.renew_keys()
    chain.left_s = 60.0
    assert credentials.fresh_keys() is None

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(credentials.renew_keys()) for _ in range(20)]

    assert {task.result().key_id for task in tasks} == {"key2"}
    assert chain.asked == 2


async def test_a_cancelled_caller_does_not_spoil_it_for_the_others() -> None:
    chain = FakeChain()
    credentials = Credentials(chain, "default")  # type: ignore[arg-type]

    async with asyncio.TaskGroup() as group:
        first = group.create_task(credentials.renew_keys())
        others = [group.create_task(credentials.renew_keys()) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()

    assert first.cancelled()
    assert len({id(task.result()) for task in others}) == 1


@pytest.mark.usefixtures("_process_profile")
async def test_keys_that_stay_the_same_stay_the_same_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials_module, "_CHECK_S", 0.0)
    credentials = _credentials()

    first = await credentials.renew_keys()
    was_due = credentials.fresh_keys() is None
    second = await credentials.renew_keys()

    assert was_due
    assert second is first


async def test_a_command_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("[default]\ncredential_process = false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    with pytest.raises(AccessDenied, match="profile 'default'"):
        await _credentials().renew_keys()


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> FakeChain:
    """Asked at every call whether its keys near their end; and once it has failed, not for a minute."""
    monkeypatch.setattr(credentials_module, "_CHECK_S", 0.0)
    monkeypatch.setattr(credentials_module, "_PAUSE_S", 60.0)
    monkeypatch.setattr(credentials_module, "_MOST_PAUSE_S", 60.0)
    return FakeChain()


def _of(chain: FakeChain) -> Credentials:
    return Credentials(chain, "lab")  # type: ignore[arg-type]


async def test_a_renewal_long_before_the_end_keeps_nobody_waiting(chain: FakeChain) -> None:
    credentials = _of(chain)
    first = await credentials.renew_keys()
    chain.left_s = 14 * 60
    chain.may_answer.clear()

    while_it_is_asked = [credentials.fresh_keys() for _ in range(5)]
    chain.may_answer.set()
    while credentials.fresh_keys() is first:
        await asyncio.sleep(0)
    second = credentials.fresh_keys()

    assert while_it_is_asked == [first] * 5
    assert second is not None
    assert second.key_id == "key2"
    assert chain.asked == 2


async def test_shortly_before_the_end_all_wait_for_one_renewal(chain: FakeChain) -> None:
    credentials = _of(chain)
    await credentials.renew_keys()
    chain.left_s = 9 * 60

    assert credentials.fresh_keys() is None
    assert (await credentials.renew_keys()).key_id == "key2"


async def test_keys_that_still_serve_are_used_where_renewal_fails(
    chain: FakeChain, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = _of(chain)
    first = await credentials.renew_keys()
    chain.left_s = 60.0
    chain.error = botocore.exceptions.ConnectTimeoutError(endpoint_url="http://169.254.169.254")

    found = [await credentials.renew_keys() for _ in range(3)]

    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert found == [first] * 3
    assert "profile 'lab' (fake)" in warning
    assert "old keys still serve" in warning


@pytest.mark.parametrize(
    ("cause", "kind", "words"),
    [
        (botocore.exceptions.ConnectTimeoutError(endpoint_url="http://169.254.169.254"), ConnectionLost, "169.254"),
        (botocore.exceptions.UnauthorizedSSOTokenError(), AccessDenied, "SSO"),
        (RuntimeError("Credentials were refreshed, but the refreshed ones are still expired."), AccessDenied, "clock"),
        (json.JSONDecodeError("bad", "{'SecretAccessKey': 'hush-hush'", 0), AccessDenied, "cannot be read"),
        (FileNotFoundError(2, "No such file or directory", "/run/token"), AccessDenied, "/run/token"),
        (TypeError("list indices must be integers or slices, not str"), AccessDenied, "cannot be read"),
        (AttributeError("'list' object has no attribute 'get'"), AccessDenied, "cannot be read"),
        (EOFError(), AccessDenied, "mfa_serial"),
    ],
)
async def test_a_renewal_that_fails_is_one_error_for_all_and_no_storm(
    chain: FakeChain, cause: Exception, kind: type[FetchError], words: str
) -> None:
    credentials = _of(chain)
    await credentials.renew_keys()
    chain.left_s = -1.0
    chain.error = cause

    results = await _outcomes(lambda: credentials.renew_keys())
    with pytest.raises(kind):
        await credentials.renew_keys()

    assert chain.asked == 2
    assert {type(result) for result in results} == {kind}
    # Each its own: an error that is raised in many tasks gathers the tracebacks of all.
    assert len({id(result) for result in results}) == 200
    (text,) = {str(result) for result in results}
    assert text.startswith("AWS credentials of profile 'lab' (fake): ")
    assert words in text
    assert "hush" not in text


async def test_a_failure_is_followed_by_another_try_after_its_pause(
    chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials_module, "_PAUSE_S", 0.0)
    credentials = _of(chain)
    chain.error = botocore.exceptions.UnauthorizedSSOTokenError()
    with pytest.raises(AccessDenied):
        await credentials.renew_keys()

    chain.error = None

    assert (await credentials.renew_keys()).key_id == "key2"


async def test_closing_ends_a_renewal_with_an_error(chain: FakeChain) -> None:
    credentials = _of(chain)
    chain.may_answer.clear()
    waiting = asyncio.create_task(credentials.renew_keys())
    while not chain.asked:
        await asyncio.sleep(0)

    await credentials.aclose()
    chain.may_answer.set()

    with pytest.raises(FetchError, match="the store was closed"):
        await waiting


async def test_closing_ends_a_replacement_with_an_error_and_begins_no_other(
    chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials_module, "Session", lambda **_: chain)
    credentials = _of(chain)
    refused = await credentials.renew_keys()
    chain.may_answer.clear()
    waiting = asyncio.create_task(credentials.replace(refused))
    while chain.asked < 2:
        await asyncio.sleep(0)

    await credentials.aclose()
    chain.may_answer.set()

    with pytest.raises(FetchError, match="the store was closed"):
        await waiting
    assert chain.asked == 2


async def test_closing_in_the_background_is_no_news(chain: FakeChain, caplog: pytest.LogCaptureFixture) -> None:
    credentials = _of(chain)
    await credentials.renew_keys()
    chain.left_s = 14 * 60
    chain.may_answer.clear()
    credentials.fresh_keys()
    while chain.asked < 2:
        await asyncio.sleep(0)

    await credentials.aclose()
    chain.may_answer.set()

    assert [record for record in caplog.records if record.name.startswith("asyncio_loader")] == []


async def test_closing_what_does_nothing_is_no_matter(chain: FakeChain) -> None:
    await _of(chain).aclose()


class Command:
    """The command behind a profile, which gives other keys each time.

    Attributes:
        runs: how often it was run.
    """

    def __init__(self, folder: Path) -> None:
        self._calls = folder / "calls"
        self._broken = folder / "broken"

    @property
    def runs(self) -> int:
        return len(self._calls.read_text())

    def fail(self) -> None:
        """From now on."""
        self._broken.touch()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """That of the default profile. Once it has failed, it is not run for a minute."""
    script = tmp_path / "keys.py"
    script.write_text(
        "import datetime, json, pathlib, sys\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "calls = folder / 'calls'\n"
        "calls.touch()\n"
        "number = len(calls.read_text()) + 1\n"
        "calls.write_text('x' * number)\n"
        "if (folder / 'broken').exists(): sys.exit('the vault is closed')\n"
        "end = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).isoformat()\n"
        "print(json.dumps(dict(Version=1, AccessKeyId=f'AKID{number}', SecretAccessKey='x', SessionToken='y',"
        " Expiration=end)))\n"
    )
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr(credentials_module, "_PAUSE_S", 60.0)
    monkeypatch.setattr(credentials_module, "_MOST_PAUSE_S", 60.0)
    return Command(tmp_path)


async def test_refused_keys_are_replaced_once_for_all(command: Command) -> None:
    credentials = _credentials()
    refused = await credentials.renew_keys()

    found = await _outcomes(lambda: credentials.replace(refused))

    assert {keys.key_id for keys in found} == {"AKID2"}
    assert command.runs == 2
    assert credentials.fresh_keys() is found[0]


async def test_late_refusals_of_old_keys_get_those_that_are_there(command: Command) -> None:
    credentials = _credentials()
    refused = await credentials.renew_keys()
    newer = await credentials.replace(refused)

    assert await credentials.replace(refused) is newer
    assert command.runs == 2


async def test_a_replacement_that_fails_is_one_error_for_all_and_no_storm(command: Command) -> None:
    credentials = _credentials()
    refused = await credentials.renew_keys()
    command.fail()

    results = await _outcomes(lambda: credentials.replace(refused))
    with pytest.raises(AccessDenied):
        await credentials.replace(refused)

    (text,) = {str(result) for result in results}
    assert "custom-process" in text
    assert "the vault is closed" in text
    assert command.runs == 2


async def test_keys_that_never_change_are_asked_for_once(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "same")
    sessions = []
    monkeypatch.setattr(credentials_module, "Session", lambda **about: sessions.append(about) or Session(**about))
    credentials = _credentials()
    refused = await credentials.renew_keys()

    found = await _outcomes(lambda: credentials.replace(refused))

    assert {id(keys) for keys in found} == {id(refused)}
    assert sessions == [{"profile": None}]
    assert "AWS_SESSION_TOKEN" in credentials.renewal


async def test_variables_that_were_set_anew_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "old")
    credentials = _credentials()
    refused = await credentials.renew_keys()
    monkeypatch.setenv("AWS_SESSION_TOKEN", "new")

    assert (await credentials.replace(refused)).token == "new"


async def test_a_file_that_was_written_anew_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "credentials"
    text = "[lab]\naws_access_key_id = a\naws_secret_access_key = b\naws_session_token = {}\n"
    path.write_text(text.format("old"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    credentials = _credentials("lab")
    refused = await credentials.renew_keys()
    advice = credentials.renewal
    path.write_text(text.format("new"))

    assert (await credentials.replace(refused)).token == "new"
    assert "profile 'lab' in ~/.aws/credentials" in advice


async def test_a_refusal_while_others_renew_waits_for_that_first(chain: FakeChain) -> None:
    credentials = _of(chain)
    refused = await credentials.renew_keys()
    chain.left_s = 14 * 60
    chain.may_answer.clear()
    credentials.fresh_keys()
    replacing = asyncio.create_task(credentials.replace(refused))
    while chain.asked < 2:
        await asyncio.sleep(0)

    chain.may_answer.set()

    assert (await replacing).key_id == "key2"
    assert chain.asked == 2
