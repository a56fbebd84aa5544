"""mmcv 1.x gets the same backend in the tutorial's dialect. A fake with mmcv 1.7.2's registries stands for it here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from asyncio_loader.openmmlab import register
from asyncio_loader.openmmlab.checkpoint import load_from_s3
from tests.unit.openmmlab.conftest import TREE

FILEIO = """
class BaseStorageBackend:
    pass

class Petrel(BaseStorageBackend):
    pass

class FileClient:
    _backends = {"petrel": Petrel}
    _prefix_to_backends = {"s3": Petrel}
    _instances = {"a client": "of petrel"}

    @classmethod
    def register_backend(cls, name, backend, force, prefixes):
        cls._backends[name] = cls._prefix_to_backends[prefixes] = backend
"""
CHECKPOINT = r"""
class CheckpointLoader:
    _schemes = {r"(\S+\:)?s3://": "load_from_ceph"}

    @classmethod
    def register_scheme(cls, prefixes, loader, force):
        cls._schemes[prefixes] = loader
"""


@pytest.fixture
def mmcv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """mmcv 1.x, with S3 registered."""
    files = {"__init__": "", "fileio": FILEIO, "runner/__init__": "", "runner/checkpoint": CHECKPOINT}
    for name, text in files.items():
        path = tmp_path / "mmcv" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert "mmcv1" in register()
    yield importlib.import_module("mmcv")
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmcv" or name.endswith("mmcv1_backend")]:
        if not name.startswith("tests."):
            del sys.modules[name]


@pytest.fixture
def backend(mmcv: Any) -> Any:
    return mmcv.fileio.FileClient._prefix_to_backends["s3"]()


def test_all_names_lead_to_it(mmcv: Any) -> None:
    client = mmcv.fileio.FileClient
    kind = client._prefix_to_backends["s3"]

    assert kind.__module__ == "asyncio_loader.openmmlab.mmcv1_backend"
    assert issubclass(kind, mmcv.fileio.BaseStorageBackend)
    assert client._backends == {"petrel": mmcv.fileio.Petrel, "aws": kind, "s3": kind}
    assert mmcv.runner.checkpoint.CheckpointLoader._schemes == {r"(\S+\:)?s3://": load_from_s3}


def test_clients_made_before_are_forgotten_once(mmcv: Any) -> None:
    assert mmcv.fileio.FileClient._instances == {}
    mmcv.fileio.FileClient._instances["a client"] = "of ours"

    register()

    assert mmcv.fileio.FileClient._instances == {"a client": "of ours"}


def test_mmcv_2_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    assert register() == ("mmengine",)


class TestOnServers:
    """Each on moto and on rclone."""

    def test_get_gives_a_memoryview(self, backend: Any, tree: str) -> None:
        data = backend.get(f"{tree}/dir2/img.jpg")

        assert type(data) is memoryview
        assert data == TREE["dir2/img.jpg"]

    def test_text_comes_and_goes(self, backend: Any, tree: str) -> None:
        backend.put_text("née", f"{tree}/text5.txt", encoding="utf-16")

        assert backend.get_text(f"{tree}/text5.txt", encoding="utf-16") == "née"

    def test_directories_end_with_a_slash(self, backend: Any, tree: str) -> None:
        assert list(backend.list_dir_or_file(tree)) == ["dir1/", "dir2/", "text1.txt", "text2.txt"]

    def test_remove_is_silent_about_what_is_not_there(self, backend: Any, tree: str) -> None:
        backend.remove(f"{tree}/text1.txt")
        backend.remove(f"{tree}/text1.txt")

        assert not backend.exists(f"{tree}/text1.txt")

    def test_a_local_path_lasts_as_long_as_its_block(self, backend: Any, tree: str) -> None:
        with backend.get_local_path(f"{tree}/text1.txt") as path:
            assert Path(path).read_text() == "text1"

        assert not Path(path).exists()
