from __future__ import annotations

from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms.registry import TRANSFORMS, Registry, UnknownNameError


class Shift:
    def __init__(self, pixels: int, axis: str = "x") -> None:
        if axis not in "xy":
            raise ConfigError(f"axis must be x or y, not {axis!r}")
        self.pixels, self.axis = int(pixels), axis


@pytest.fixture
def registry() -> Registry:
    registry = Registry("transform")
    registry.register(Shift)
    return registry


def test_it_registers_as_a_bare_decorator(registry: Registry) -> None:
    @registry.register
    class Mine: ...

    assert Mine is registry.get("Mine")


def test_it_registers_under_another_name(registry: Registry) -> None:
    @registry.register("Yours")
    class Mine: ...

    assert Mine is registry.get("Yours")
    assert "Mine" not in registry


@pytest.mark.parametrize("options", [{}, {"force": True}])
def test_it_registers_as_a_decorator_with_options(registry: Registry, options: dict[str, Any]) -> None:
    @registry.register(**options)
    class Mine: ...

    assert Mine is registry.get("Mine")


def test_it_registers_by_a_call_and_returns_the_class() -> None:
    registry = Registry("transform")

    assert Shift is registry.register(Shift)
    assert ["Shift"] == list(registry)


def test_it_registers_a_function(registry: Registry) -> None:
    @registry.register
    def make_shift(pixels: int) -> Shift:
        return Shift(pixels)

    assert 3 == registry.build({"type": "make_shift", "pixels": 3}).pixels


def test_a_taken_name_is_refused(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="'Shift' is registered already; force=True replaces it"):
        registry.register(Registry, name="Shift")


def test_force_replaces(registry: Registry) -> None:
    registry.register(Registry, name="Shift", force=True)

    assert Registry is registry.get("Shift")


def test_the_same_class_may_register_twice(registry: Registry) -> None:
    assert Shift is registry.register(Shift)


def test_only_callables_register(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="must be a class or a function, not 5"):
        registry.register(5, name="five")  # type: ignore[call-overload]


def test_register_module_speaks_mmcv(registry: Registry) -> None:
    @registry.register_module()
    class Mine: ...

    @registry.register_module(name=["A", "B"])
    class Other: ...

    registry.register_module(module=Registry)
    registry.register_module("Shift", force=True, module=Registry)

    assert Mine is registry.get("Mine")
    assert Other is registry.get("A") is registry.get("B")
    assert Registry is registry.get("Registry") is registry.get("Shift")


def test_register_module_refuses_other_names(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="name must be a string or a list of strings"):
        registry.register_module(name=5)  # type: ignore[arg-type]


def test_it_builds_by_name(registry: Registry) -> None:
    shift = registry.build({"type": "Shift", "pixels": 3, "axis": "y"})

    assert (3, "y") == (shift.pixels, shift.axis)


def test_it_builds_a_class_that_nobody_registered() -> None:
    assert 3 == Registry("transform").build({"type": Shift, "pixels": 3}).pixels


def test_it_leaves_the_entry_as_it_was(registry: Registry) -> None:
    entry = {"type": "Shift", "pixels": 3}
    registry.build(entry)

    assert {"type": "Shift", "pixels": 3} == entry


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "Shfit"}, r"pipeline\[2\]: unknown transform 'Shfit'; did you mean 'Shift'\?"),
        ({"type": "Zoom"}, r"pipeline\[2\]: unknown transform 'Zoom'; known are Shift"),
        ({"pixels": 3}, r"pipeline\[2\]: an entry needs a 'type'; this one has \['pixels'\]"),
        ({"type": 5}, r"pipeline\[2\]: 'type' must be a name or a class, not 5"),
        ({"type": "Shift", "pixel": 3}, r"pipeline\[2\] \(Shift\): unknown argument 'pixel'; did you mean 'pixels'\?"),
        ({"type": "Shift", "pixels": 3, "q": 1}, r"\(Shift\): unknown argument 'q'; it takes pixels, axis"),
        ({"type": "Shift"}, r"pipeline\[2\] \(Shift\): the argument 'pixels' is missing"),
        ({"type": "Shift", "pixels": 3, "axis": "z"}, r"pipeline\[2\] \(Shift\): axis must be x or y, not 'z'"),
        ({"type": "Shift", "pixels": "three"}, r"pipeline\[2\] \(Shift\): ValueError: invalid literal"),
    ],
)
def test_a_wrong_entry_is_named_with_its_place(registry: Registry, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.build(entry, place="pipeline[2]")


def test_an_unknown_name_is_a_key_error_of_one_readable_line(registry: Registry) -> None:
    with pytest.raises(KeyError) as caught:
        registry.get("Shfit")

    assert isinstance(caught.value, UnknownNameError)
    assert "unknown transform 'Shfit'; did you mean 'Shift'?" == str(caught.value)


def test_any_argument_goes_where_the_class_takes_any(registry: Registry) -> None:
    @registry.register
    def collect(**options: int) -> dict[str, int]:
        return options

    assert {"a": 1} == registry.build({"type": "collect", "a": 1})


def test_its_repr_names_what_it_knows(registry: Registry) -> None:
    assert "Registry(transform: Shift)" == repr(registry)


def test_the_transforms_of_a_detection_pipeline_are_registered() -> None:
    expected = {
        "Collect", "DefaultFormatBundle", "ImageToTensor", "LoadAnnotations", "LoadImageFromFile", "MultiScaleFlipAug",
        "Normalize", "Pad", "RandomFlip", "Resize",
    }  # fmt: skip

    assert expected <= set(TRANSFORMS)
