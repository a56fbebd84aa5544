"""Every registry of OpenMMLab that leads to S3 leads to us, whatever stood there before."""

from __future__ import annotations

import subprocess
import sys

import pytest
from mmengine.fileio import FileClient, get_file_backend, io
from mmengine.fileio.backends import PetrelBackend, registry_utils
from mmengine.runner.checkpoint import CheckpointLoader, load_from_ceph

from asyncio_loader.openmmlab import register
from asyncio_loader.openmmlab.checkpoint import load_from_s3
from asyncio_loader.openmmlab.mmengine_backend import AWSBackend

SCHEME = r"(\S+\:)?s3://"


@pytest.fixture
def _untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine's registries as they are before anything of ours was imported."""
    ours = {"aws", "s3"}
    for owner, name in [(registry_utils, "backends"), (FileClient, "_backends")]:
        table = getattr(owner, name)
        for key in ours:
            monkeypatch.delitem(table, key)
    monkeypatch.setitem(io.prefix_to_backends, "s3", PetrelBackend)
    monkeypatch.setitem(FileClient._prefix_to_backends, "s3", PetrelBackend)
    monkeypatch.setattr(FileClient, "_instances", {})
    monkeypatch.setattr(io, "backend_instances", {})
    monkeypatch.setattr(CheckpointLoader, "_schemes", {**CheckpointLoader._schemes, SCHEME: load_from_ceph})


@pytest.fixture
def _registered(_untouched: None) -> None:
    assert register() == ("mmengine",)


@pytest.mark.usefixtures("_registered")
class TestMmengine:
    @pytest.mark.parametrize("args", [{"backend": "aws"}, {"backend": "s3"}, {}])
    def test_a_file_backend(self, args: dict[str, str]) -> None:
        assert type(get_file_backend("s3://bucket/key", backend_args=args)) is AWSBackend

    @pytest.mark.parametrize("args", [{"backend": "aws"}, {"backend": "s3"}, {"prefix": "s3"}])
    def test_a_file_client(self, args: dict[str, str]) -> None:
        assert type(FileClient(**args).client) is AWSBackend

    def test_a_file_client_by_uri(self) -> None:
        # This is what CheckpointHook and LoggerHook do, whatever their backend_args are.
        assert type(FileClient.infer_client(None, "s3://bucket/dir").client) is AWSBackend

    @pytest.mark.parametrize("uri", ["s3://bucket/key.pth", "cluster:s3://bucket/key.pth"])
    def test_a_checkpoint_loader(self, uri: str) -> None:
        assert CheckpointLoader._get_checkpoint_loader(uri) is load_from_s3

    def test_petrel_keeps_its_name(self) -> None:
        assert FileClient._backends["petrel"] is io.backends["petrel"] is PetrelBackend

    def test_a_second_time_keeps_the_clients(self) -> None:
        client, backend = FileClient(prefix="s3"), get_file_backend("s3://b/k", enable_singleton=True)

        register()

        assert FileClient(prefix="s3") is client
        assert get_file_backend("s3://b/k", enable_singleton=True) is backend


@pytest.mark.usefixtures("_untouched")
def test_clients_made_before_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PetrelBackend, "__init__", lambda self: None)
    client, backend = FileClient(prefix="s3"), get_file_backend("s3://b/k", enable_singleton=True)

    register()

    assert type(client.client) is type(backend) is PetrelBackend
    assert type(FileClient(prefix="s3").client) is AWSBackend
    assert type(get_file_backend("s3://b/k", enable_singleton=True)) is AWSBackend


def test_neither_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ImportError, match="neither is installed: `pip install onedl-mmengine`"):
        register()


@pytest.mark.parametrize(
    "imports",
    [
        "import mmengine.runner, asyncio_loader.openmmlab",
        "import asyncio_loader.openmmlab, mmengine.runner",
        "from mmengine.config import Config; "
        "Config.fromstring('custom_imports = dict(imports=[\"asyncio_loader.openmmlab\"])', '.py')",
    ],
)
def test_whatever_is_imported_first(imports: str) -> None:
    asked = (
        "from mmengine.fileio import FileClient; from mmengine.runner import CheckpointLoader; "
        "print(FileClient.infer_client(uri='s3://b').name, CheckpointLoader._get_checkpoint_loader('s3://b').__name__)"
    )

    done = subprocess.run([sys.executable, "-c", f"{imports}; {asked}"], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "AWSBackend load_from_s3"


@pytest.mark.parametrize("first", ["asyncio_loader.openmmlab", "asyncio_loader.openmmlab.prefetch"])
def test_a_config_finds_the_prefetch_dataset(first: str) -> None:
    asked = f"import {first}; from mmengine.registry import DATASETS; print(DATASETS.get('PrefetchDataset').__name__)"

    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "PrefetchDataset"


def test_the_package_itself_imports_no_mmengine() -> None:
    asked = "import sys, asyncio_loader, asyncio_loader.fileio.file_client; print('mmengine' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
