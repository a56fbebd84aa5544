"""Who asks: found off the loop, renewed in time, in one flight."""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session

from asyncio_loader.errors import AccessDenied
from asyncio_loader.stores.s3 import credentials as credentials_module
from asyncio_loader.stores.s3.credentials import Credentials


def _credentials(profile: str | None = None) -> Credentials:
    return Credentials(Session(profile=profile), profile or "default")


class FakeChain:
    """A botocore session whose credentials want renewal whenever a test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_due = False
        self.threads: set[int] = set()

    def get_credentials(self) -> FakeChain:
        return self

    def refresh_needed(self, ahead_s: float | None = None) -> bool:
        return self.is_due

    def get_frozen_credentials(self) -> Any:
        self.asked += 1
        self.threads.add(threading.get_ident())
        self.is_due = False
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
    chain.is_due = True
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
