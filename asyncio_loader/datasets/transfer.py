"""Batches on their way to the device, while the model works on the one before."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import torch

from asyncio_loader.datasets.pinned import PinnedMemory
from asyncio_loader.datasets.tensors import map_tensors
from asyncio_loader.errors import ConfigError

__all__ = ["CudaTransfer", "HostTransfer", "PinningTransfer", "Transfer", "check_device", "open_transfer"]

Ticket = TypeVar("Ticket")


class Transfer(Protocol[Ticket]):
    """How batches get where they are used. Both calls are made by the consumer's thread, in the order of the batches.

    A ticket may be dropped instead of finished; whatever was begun for it must be safe from then on.

    Attributes:
        pinned: page-locked memory to stack batches into, before they are given to `begin`; None: there is none.
    """

    pinned: PinnedMemory | None

    def begin(self, batch: Any) -> Ticket:
        """Begin to copy; does not wait for the end. The batch may be dropped at once."""
        ...

    def finish(self, ticket: Ticket) -> Any:
        """The batch where it is used. What the consumer does with it from now on sees the whole of it."""
        ...


class HostTransfer:
    """Stays where it is: also what `device="cpu"` gives."""

    pinned: PinnedMemory | None = None

    def begin(self, batch: Any) -> Any:
        """The batch."""
        return batch

    def finish(self, ticket: Any) -> Any:
        """The batch."""
        return ticket


class PinningTransfer:
    """To page-locked memory, for a consumer that copies to the device itself."""

    def __init__(self, memory: PinnedMemory) -> None:
        self.pinned: PinnedMemory | None = memory
        self._memory = memory

    def begin(self, batch: Any) -> Any:
        """The batch, copied as far as it is not there yet."""
        return self._memory.pin(batch)

    def finish(self, ticket: Any) -> Any:
        """The batch."""
        return ticket


class CudaTransfer:
    """To a GPU, on a stream of its own.

    The host does not wait, and neither does what the GPU is doing: only what the consumer starts on its own stream
    after `finish` comes after the copies. Nobody's memory is used again too early. torch's allocator keeps a
    page-locked block until the copies from it are done, and what lies in other memory is copied before `begin` returns.
    Memory on the device is the side stream's, and kept until the consumer's stream is through with it
    (`record_stream`); whoever uses a batch on further streams has to say so likewise.

    For one thread, and for the process that made it.

    Args:
        device: with or without a number; without: the current one.
        memory: page-locked memory that tensors go through.
    """

    def __init__(self, device: torch.device, memory: PinnedMemory) -> None:
        self._device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
        self.pinned: PinnedMemory | None = memory
        self._memory = memory
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def begin(self, batch: Any) -> tuple[Any, torch.cuda.Event]:
        """Put the copies on the side stream, and a mark behind them. Raises torch's errors, such as out of memory."""
        pinned = self._memory.pin(batch)
        with torch.cuda.stream(self._stream):
            moved = map_tensors(pinned, self._move)
            return moved, self._stream.record_event()

    def finish(self, ticket: tuple[Any, torch.cuda.Event]) -> Any:
        """Have the current stream wait for the mark; the host does not."""
        moved, copied = ticket
        current = torch.cuda.current_stream(self._device)
        current.wait_event(copied)

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.is_cuda:
                tensor.record_stream(current)
            return tensor

        return map_tensors(moved, keep)

    def _move(self, tensor: torch.Tensor) -> torch.Tensor:
        # What a collate of the user's has put on a device belongs to the stream it was made on.
        if tensor.device.type != "cpu":
            return tensor
        return tensor.to(self._device, non_blocking=tensor.is_pinned())


def check_device(device: torch.device | str | None) -> torch.device | None:
    """The device that a `Loader` was asked for.

    Raises:
        ConfigError: it is none, neither a CPU nor a CUDA device, or not there.
    """
    if device is None:
        return None
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device must be 'cpu', 'cuda' or 'cuda:N', not {device!r:.80}") from error
    if place.type not in ("cpu", "cuda"):
        raise ConfigError(f"device must be 'cpu', 'cuda' or 'cuda:N', not {str(place)!r}")
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={str(place)!r} needs a CUDA device, and torch finds none")
    if place.type == "cuda" and place.index is not None and place.index >= torch.cuda.device_count():
        raise ConfigError(f"device={str(place)!r}: torch finds {torch.cuda.device_count()} CUDA devices, from cuda:0")
    return place


def open_transfer(device: torch.device | None, *, pin_memory: bool) -> Transfer[Any]:
    """The way to a device, or without one to page-locked memory. In the process that iterates."""
    if device is not None and device.type == "cuda":
        return CudaTransfer(device, PinnedMemory())
    return PinningTransfer(PinnedMemory()) if pin_memory else HostTransfer()
