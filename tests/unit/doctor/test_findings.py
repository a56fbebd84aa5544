from __future__ import annotations

from asyncio_loader.doctor.findings import Finding, of_error
from asyncio_loader.errors import AccessDenied

URI = "s3://bucket/a.jpg"


def test_what_to_do_stands_behind_the_semicolon_of_a_message() -> None:
    error = AccessDenied(f"{URI}: the signature is wrong (HTTP 403);\n look at the key")

    assert Finding("failed", "get", "the signature is wrong (HTTP 403)", "look at the key") == of_error(
        "get", error, URI
    )


def test_advice_of_ones_own_takes_its_place() -> None:
    found = of_error("get", AccessDenied(f"{URI}: no; look"), "s3://other/", level="warning", advice="do this")

    assert found == Finding("warning", "get", f"{URI}: no", "do this")
