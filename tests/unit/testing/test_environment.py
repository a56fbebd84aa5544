from __future__ import annotations

import os

import pytest

from asyncio_loader.testing.environment import environment


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)

    with environment({"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": "http://x"}):
        assert os.environ["AWS_REGION"] == "us-east-1"

    assert os.environ["AWS_REGION"] == "eu-west-1"
    assert "AWS_ENDPOINT_URL_S3" not in os.environ
