from __future__ import annotations

from asyncio_loader.hints import did_you_mean


def test_the_nearest_name_is_offered() -> None:
    assert did_you_mean("Resise", iter(["Pad", "Resize", "Rescale"])) == "did you mean 'Resize'?"


def test_where_none_is_near_the_caller_knows_what_to_say() -> None:
    assert did_you_mean("xyz", ["Pad"], "known: Pad") == "known: Pad"
    assert did_you_mean(3, ["Pad"]) == ""
