"""What the pages of docs/ show is executed, page by page, against a bucket of that name on a server that verifies.

Python blocks of a page share their names, as in a session; commands run in the page's own directory. A block with a
title is that file, or the next piece of it. A config is loaded as it grows. What cannot run here has a line above it
that begins with ``<!-- not run:`` and says why; it is compiled at least. ``text`` is no code.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml

import asyncio_loader
from asyncio_loader.cli import main
from asyncio_loader.config import TOP_LEVEL_KEYS, load_config
from asyncio_loader.datasets.coco import CocoDataset
from asyncio_loader.testing.servers import RcloneServer
from asyncio_loader.testing.synthetic import synthetic_jpegs, write_synthetic_coco
from asyncio_loader.training.translate import translate
from asyncio_loader.transforms.registry import TRANSFORMS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n)?"
    r'^```(?P<language>\w+)?(?: title="(?P<title>[^"]+)")?\n(?P<code>.*?)^```$',
    re.DOTALL | re.MULTILINE,
)
# All there are: a block that could run has no excuse.
_REASONS = {
    "needs an account",
    "needs another package",
    "needs a cluster",
    "needs a checkout",
    "needs the network",
    "needs a terminal",
    "needs several GPUs",
}

# What a person waits for and a test does not: a measurement of a minute, a training of hours.
_SHORTER = {"tune": ["--concurrency", "4", "--seconds", "0.2"], "doctor": ["--seconds", "0.1"]}


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    title: str | None
    reason: str | None
    place: str


def blocks_of(page: str) -> list[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        place = f"docs/{page}, line {line}"
        block = Block(match["language"] or "", match["code"], match["title"], match["reason"], place)
        if block.language != "text":
            found.append(block)
    return found


def write_flowers(directory: Path) -> None:
    for number, jpeg in enumerate(synthetic_jpegs(24, mean_bytes=4_000, size=(96, 64), distinct=6)):
        path = directory / ("daisy", "rose", "tulip")[number % 3] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneServer]:
    """One bucket for all pages, with a small COCO data set and images in folders by class."""
    directory = tmp_path_factory.mktemp("buckets")
    write_synthetic_coco(directory / "yourbucket/coco", images=24, val_images=6, size=(96, 64), mixed_sizes=True)
    write_flowers(directory / "yourbucket/flowers")
    # Checkpoints are large: their sums are not to be made anew every second.
    with RcloneServer(directory, dir_cache_s=3600) as running:
        yield running


class Session:
    """What has been typed on a page so far. `directory` is the current one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names: dict[str, Any] = {"__name__": "page"}

    def run(self, block: Block) -> None:
        if block.title is not None:
            self._write(block, block.title)
        elif block.language == "python":
            exec(compile(block.code, block.place, "exec"), self._names)
        elif block.language == "bash":
            for command in commands_of(block.code):
                self._call(command, block.place)
        elif block.language == "yaml":
            assert all(yaml.safe_load_all(block.code)), block.place
        else:
            raise AssertionError(f"{block.place}: nobody runs {block.language!r}")

    def close(self) -> None:
        """Forget all names. A DataLoader that ends in a cycle with them waits for each of its workers for 5 s."""
        self._names.clear()

    def _write(self, block: Block, title: str) -> None:
        with (self._directory / title).open("a", encoding="utf-8") as file:
            file.write(block.code)
        if "config" in title:
            config = load_config(self._directory / title)
            whole = ({"data", "model", "runner"}, {"train_dataloader", "model", "train_cfg"})
            if any(keys <= config.keys() for keys in whole):
                # Every key means something to `train`.
                translate(config.to_dict())
        elif title.endswith(".py"):
            compile(block.code, block.place, "exec")

    def _call(self, command: Sequence[str], place: str) -> None:
        program, *arguments = command
        if program == "asyncio-loader":
            code = main([*arguments, *_SHORTER.get(arguments[0], [])])
        else:
            assert program in ("torchrun", "python"), f"{place}: nobody runs {program}"
            environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
            code = subprocess.run(command, env=environ, check=False).returncode
        assert code == 0, f"{place}: {shlex.join(command)}: exit code {code}"


def commands_of(code: str) -> list[list[str]]:
    lines = code.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


@pytest.mark.parametrize("page", [page for page in PAGES if any(not block.reason for block in blocks_of(page))])
def test_the_blocks_of_a_page_run(
    page: str, server: RcloneServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    # `train` sets it for its process, which is this one.
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TRANSFORMS, "_factories", dict(TRANSFORMS._factories))
    # mmengine lays a config out anew for each checkpoint, which takes longer than these trainings.
    monkeypatch.setattr("yapf.yapflib.yapf_api.FormatCode", lambda text, **_: (text, True))
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    # What a reader has downloaded.
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    with closing(Session(tmp_path)) as session:
        for block in blocks_of(page):
            if block.reason is None:
                session.run(block)


@pytest.mark.parametrize("block", [b for page in PAGES for b in blocks_of(page) if b.reason], ids=lambda b: b.place)
def test_a_block_that_does_not_run_is_sound(block: Block) -> None:
    assert block.reason is not None
    kind, _, _ = block.reason.partition(":")
    assert kind in _REASONS
    if block.language == "python":
        compile(block.code, block.place, "exec")
    elif block.language == "bash":
        assert commands_of(block.code)
    else:
        assert block.language == "yaml"
        assert all(yaml.safe_load_all(block.code))


def test_nearly_all_blocks_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [block for page in PAGES for block in blocks_of(page)]
    run = [block for block in blocks if block.reason is None]
    with capsys.disabled():
        print(f"\ndocs: {len(run)} of {len(blocks)} code blocks run", end="")

    fences = sum((DOCS / page).read_text(encoding="utf-8").count("\n```") for page in PAGES)
    texts = sum((DOCS / page).read_text(encoding="utf-8").count("\n```text\n") for page in PAGES)
    assert fences == 2 * (len(blocks) + texts)
    assert len(run) >= 0.75 * len(blocks)


def test_the_reference_has_every_public_name() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))
    shown = {path.rpartition(".")[2] for path in re.findall(r"^::: (asyncio_loader\S*)$", pages, re.MULTILINE)}
    # Of the errors the whole module is shown.
    assert "errors" in shown
    assert set(asyncio_loader.__all__) - {"LoaderError"} <= shown


def test_the_reference_has_every_key_of_a_config() -> None:
    page = (DOCS / "reference" / "config.md").read_text(encoding="utf-8")
    of_a_dataset = set(inspect.signature(CocoDataset).parameters)
    # What the run decides, not the config: see `training.datasets`.
    of_a_run = {"seed", "batch_size", "shuffle", "drop_last", "order", "epochs", "group_by_aspect", "trace"}

    missing = {key for key in TOP_LEVEL_KEYS | of_a_dataset - of_a_run if not re.search(rf"`(data\.)?{key}\b", page)}
    assert missing - {"data", "model"} == set()


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")

    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text)]
    assert [target for target in targets if not ((DOCS / page).parent / target).exists()] == []
