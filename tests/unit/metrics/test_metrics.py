from __future__ import annotations

import sys

import pytest

from asyncio_loader import metrics


def test_the_public_names_are_there_and_documented() -> None:
    assert metrics.__all__ == sorted(metrics.__all__)
    assert all(getattr(metrics, name).__doc__ for name in metrics.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Exporter'"):
        _ = metrics.Exporter


@pytest.mark.parametrize(
    ("package", "name"), [("prometheus_client", "PrometheusExporter"), ("opentelemetry", "instrument")]
)
def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str, name: str) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"asyncio_loader.metrics.{metrics._HOMES[name]}", raising=False)

    with pytest.raises(ModuleNotFoundError, match=rf"this needs {package}: pip install 'asyncio-loader\[metrics\]'"):
        getattr(metrics, name)


def test_one_of_them_does_without_the_packages_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "asyncio_loader.metrics.prometheus", raising=False)

    assert metrics.PrometheusExporter.__name__ == "PrometheusExporter"
