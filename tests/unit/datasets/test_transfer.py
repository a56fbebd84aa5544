from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from asyncio_loader.datasets.pinned import PinnedMemory
from asyncio_loader.datasets.transfer import (
    CudaTransfer,
    HostTransfer,
    PinningTransfer,
    Transfer,
    check_device,
    open_transfer,
)
from asyncio_loader.errors import ConfigError

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_on_the_host_a_batch_is_what_it_was() -> None:
    transfer: Transfer[object] = HostTransfer()
    batch = {"img": [torch.ones(2)]}

    assert transfer.finish(transfer.begin(batch)) is batch


def test_pinning_copies_at_once() -> None:
    memory = PinnedMemory(allocate=lambda shape, strides, dtype: torch.empty_strided(shape, strides, dtype=dtype))
    transfer: Transfer[object] = PinningTransfer(memory)
    image = torch.ones(2)
    ticket = transfer.begin([image])
    image.zero_()

    assert transfer.finish(ticket) == [pytest.approx([1, 1])]


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "cpu:0"])
def test_the_host_is_a_device(device: torch.device | str) -> None:
    place = check_device(device)

    assert place is not None
    assert place.type == "cpu"
    assert isinstance(open_transfer(place, pin_memory=False), HostTransfer)


def test_without_a_device_there_is_nothing_to_copy_but_to_page_locked_memory() -> None:
    assert check_device(None) is None
    assert isinstance(open_transfer(None, pin_memory=False), HostTransfer)
    assert isinstance(open_transfer(None, pin_memory=True), PinningTransfer)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "device must be 'cpu', 'cuda' or 'cuda:N', not 'gpu'"),
        ("meta", "device must be 'cpu', 'cuda' or 'cuda:N', not 'meta'"),
        ("cuda:x", "device must be 'cpu', 'cuda' or 'cuda:N', not 'cuda:x'"),
        ([1], r"device must be 'cpu', 'cuda' or 'cuda:N', not \[1\]"),
    ],
)
def test_another_device_is_refused(device: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_device(device)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device='cuda:1' needs a CUDA device, and torch finds none"):
        check_device("cuda:1")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="device='cuda:1': torch finds 1 CUDA devices, from cuda:0"):
        check_device("cuda:1")


class Stream:
    """Writes down what is done with it."""

    def __init__(self, name: str, log: list[Any]) -> None:
        self.name = name
        self.log = log

    def __repr__(self) -> str:
        return self.name

    def record_event(self) -> str:
        self.log.append((self.name, "mark"))
        return f"mark of {self.name}"

    def wait_event(self, event: str) -> None:
        self.log.append((self.name, "waits for", event))


def test_copies_go_to_a_stream_of_their_own_and_the_consumers_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: what the stream and the tensors are told, in this order."""
    log: list[Any] = []

    @contextlib.contextmanager
    def on(stream: Stream) -> Iterator[None]:
        log.append("side {")
        yield
        log.append("}")

    def move(tensor: torch.Tensor, device: torch.device, *, non_blocking: bool) -> torch.Tensor:
        log.append(("copy", tensor.item(), str(device), non_blocking))
        return tensor

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("side", log))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("own", log))
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.Tensor, "to", move)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda tensor: tensor.item() > 10)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: log.append((tensor.item(), stream.name)))
    transfer = CudaTransfer(torch.device("cuda"), PinnedMemory(0))

    ticket = transfer.begin({"pinned": torch.tensor(11), "plain": torch.tensor(2)})
    assert log == ["side {", ("copy", 11, "cuda:3", True), ("copy", 2, "cuda:3", False), ("side", "mark"), "}"]
    log.clear()
    monkeypatch.setattr(torch.Tensor, "is_cuda", True, raising=False)
    transfer.finish(ticket)
    assert log == [("own", "waits for", "mark of side"), (11, "own"), (2, "own")]


# With a GPU.


@needs_cuda
def test_values_arrive_while_both_streams_and_both_memories_are_busy() -> None:
    device = torch.device("cuda")
    transfer = open_transfer(device, pin_memory=False)
    assert isinstance(transfer, CudaTransfer)
    work = torch.rand(2048, 2048, device=device)
    sums = []
    tickets = []
    for number in range(60):
        # Dropped at once: the block must not be used again before it was copied.
        host = torch.full((1024, 1024), float(number))
        tickets.append(transfer.begin({"img": [host], "name": "a name", "boxes": torch.zeros(0, 4)}))
        del host
        if len(tickets) == 2:
            batch = transfer.finish(tickets.pop(0))
            assert (batch["img"][0].device.type, batch["boxes"].device.type, batch["name"]) == (
                "cuda",
                "cuda",
                "a name",
            )
            for _ in range(4):
                work = work @ work.softmax(0)
            # After the work, of a tensor that is dropped then: its memory must not be used again before.
            sums.append(batch["img"][0].mean())
            del batch

    assert [int(value) for value in sums] == list(range(59))


@needs_cuda
def test_beyond_the_page_locked_memory_values_arrive_as_well() -> None:
    transfer = CudaTransfer(torch.device("cuda:0"), PinnedMemory(0))
    tickets = [transfer.begin([torch.full((512, 512), float(number))]) for number in range(8)]

    assert [int(transfer.finish(ticket)[0].mean()) for ticket in tickets] == list(range(8))


@needs_cuda
def test_what_is_on_a_device_already_stays() -> None:
    transfer = open_transfer(torch.device("cuda"), pin_memory=True)
    there = torch.ones(3, device="cuda")

    assert transfer.finish(transfer.begin([there]))[0] is there
