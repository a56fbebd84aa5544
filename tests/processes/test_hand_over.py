"""Tensors of DataLoader workers in memory that is used again: whatever is kept stays what it was."""

from __future__ import annotations

import os
import random
import resource
from typing import Any

import numpy as np
import pytest
import torch
from torch import multiprocessing
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from asyncio_loader.bridge.shared_blocks import can_share
from asyncio_loader.datasets import hand_over
from asyncio_loader.datasets.collate import collate
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.records import Fetched
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.transforms.base import Compose
from asyncio_loader.transforms.formatting import DataContainer
from bench.measure import call_in_fresh_process

pytestmark = pytest.mark.skipif(not can_share(), reason="needs memfd_create")

SIDE = 320  # 400 KiB of float32, 100 of uint8
COUNT = 60


def image(number: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full((SIDE, SIDE), number % 251).to(dtype)


class Images(IterableDataset[Any]):
    """Number and image, in turn of the workers."""

    def __init__(self, count: int = COUNT, dtype: torch.dtype = torch.float32) -> None:
        self.count, self.dtype = count, dtype

    def __iter__(self) -> Any:
        worker = get_worker_info()
        assert worker is not None
        hand_over.recycle_tensors()
        for number in range(worker.id, self.count, worker.num_workers):
            yield number, image(number, self.dtype)


def is_right(number: int, tensor: torch.Tensor) -> bool:
    return bool((tensor == number % 251).all())


def blocks_of(tensors: list[torch.Tensor]) -> set[int]:
    """Files that the tensors lie in, by their number, of all that this process has mapped."""
    found = {}
    with open("/proc/self/maps", encoding="ascii") as maps:
        for line in maps:
            span, _, _, _, inode, *name = line.split()
            if name and "memfd:asyncio-loader" in name[0]:
                start, end = (int(part, 16) for part in span.split("-"))
                found[start, end] = int(inode)
    return {inode for (start, end), inode in found.items() if any(start <= t.data_ptr() < end for t in tensors)}


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_what_is_kept_stays_and_what_is_dropped_is_used_again(start: str) -> None:
    draw = random.Random(1)
    kept: list[tuple[int, torch.Tensor]] = []
    used: set[int] = set()
    for number, tensor in DataLoader(Images(), batch_size=None, num_workers=2, multiprocessing_context=start):
        assert is_right(number, tensor)
        used |= blocks_of([tensor])
        # Of some nothing but a view, and a few of them only for a while.
        if draw.random() < 0.3:
            kept.append((number, tensor[5:9, ::7]))
        if kept and draw.random() < 0.1:
            kept.pop(draw.randrange(len(kept)))
    del tensor

    assert len(kept) > 5
    assert all(is_right(number, tensor) for number, tensor in kept)
    # As many as are kept, and those that were on their way; not one for each.
    assert len(kept) <= len(used) < COUNT / 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int32, torch.float16])
def test_any_type_arrives(dtype: torch.dtype) -> None:
    for number, tensor in DataLoader(Images(6, dtype), batch_size=None, num_workers=1):
        assert tensor.dtype == dtype
        assert is_right(number, tensor)


class Odd(IterableDataset[Any]):
    """What is no plain tensor, or small."""

    def __iter__(self) -> Any:
        hand_over.recycle_tensors()
        whole = torch.arange(SIDE * SIDE, dtype=torch.float32).reshape(SIDE, SIDE)
        yield whole.t()
        yield whole[:, ::2]
        yield whole[:3]
        yield whole[100:]
        yield whole.to(torch.complex64)
        yield torch.nn.Parameter(whole)
        yield whole.clone().share_memory_()
        yield whole.reshape(1, SIDE, SIDE, 1).expand(3, SIDE, SIDE, 1)
        yield torch.zeros(0, SIDE)


def test_what_is_not_plain_goes_as_before() -> None:
    whole = torch.arange(SIDE * SIDE, dtype=torch.float32).reshape(SIDE, SIDE)
    got = list(DataLoader(Odd(), batch_size=None, num_workers=1))
    expected = [
        whole.t(),
        whole[:, ::2],
        whole[:3],
        whole[100:],
        whole.to(torch.complex64),
        whole,
        whole,
        whole.expand(3, SIDE, SIDE)[..., None],
        torch.zeros(0, SIDE),
    ]

    assert [tensor.stride() for tensor in (got[0], got[1])] == [(1, SIDE), (SIDE, 2)]
    assert isinstance(got[5], torch.nn.Parameter)
    assert all(torch.equal(tensor, value) for tensor, value in zip(got, expected, strict=True))


SMALL = [
    torch.tensor([[1.5, 2.0, 3.0, 4.0]]),
    torch.tensor(7),
    torch.zeros(0, 4),
    torch.tensor([True, False]),
    torch.tensor([1.0, -2.0], dtype=torch.bfloat16),
    torch.arange(30_000),
    torch.arange(100)[30:40],
]


class Small(IterableDataset[Any]):
    """Tensors of a few bytes, as boxes and labels are."""

    def __iter__(self) -> Any:
        hand_over.recycle_tensors()
        yield SMALL


def test_small_tensors_come_without_a_file_of_their_own() -> None:
    (got,) = DataLoader(Small(), batch_size=None, num_workers=1)

    for tensor, expected in zip(got, SMALL, strict=True):
        assert (tensor.dtype, tensor.shape) == (expected.dtype, expected.shape)
        assert torch.equal(tensor, expected)
        assert not tensor.is_shared()
        # The user's own.
        tensor.fill_(1)
    assert blocks_of(got) == set()


class Pipelines(IterableDataset[Any]):
    """Images as the last transforms make them, and whether they lie in a block from the first."""

    def __init__(self, pipeline: list[dict[str, Any]]) -> None:
        self.pipeline = Compose(pipeline)

    def __iter__(self) -> Any:
        hand_over.recycle_tensors()
        image = np.arange(SIDE * SIDE * 3, dtype=np.uint32).astype(np.uint8).reshape(SIDE, SIDE, 3)
        for _ in range(3):
            sample = self.pipeline({"img": image.copy(), "img_fields": ["img"]})
            assert sample is not None
            blocks = hand_over._blocks()
            assert blocks is not None
            tensor = sample["img"].data
            yield tensor, tensor.data_ptr() in blocks._blocks


@pytest.mark.parametrize(
    "stages",
    [
        [],
        [
            {"type": "Normalize", "mean": [0, 0, 0], "std": [1, 1, 1], "to_rgb": False},
            {"type": "Pad", "size_divisor": 32},
        ],
    ],
    ids=["uint8", "float32"],
)
def test_the_last_stage_of_an_image_is_written_to_where_the_parent_reads(stages: list[dict[str, Any]]) -> None:
    pipeline = [*stages, {"type": "DefaultFormatBundle", "img_to_float": bool(stages)}]
    tensors, are_placed = zip(*DataLoader(Pipelines(pipeline), batch_size=None, num_workers=1), strict=True)
    expected = torch.arange(SIDE * SIDE * 3).to(torch.uint8).reshape(SIDE, SIDE, 3).permute(2, 0, 1)

    assert are_placed == (True,) * 3
    assert len(blocks_of(list(tensors))) == 3
    assert all(torch.equal(tensor, expected.float() if stages else expected) for tensor in tensors)


class Samples(IterableDataset[Any]):
    """As a user's transform makes them: an image as torchvision has it, an array, a few numbers, a label."""

    def __init__(self, count: int = 12, *, is_ragged: bool = False) -> None:
        self.count, self.is_ragged = count, is_ragged

    def __iter__(self) -> Any:
        hand_over.recycle_tensors()
        for number in range(self.count):
            pixels = np.full((SIDE + self.is_ragged * number, SIDE, 3), number, np.uint8)
            image = torch.from_numpy(pixels).permute(2, 0, 1)
            yield {"image": image, "array": pixels.astype(np.float32), "few": torch.full((2,), number), "label": number}


def test_the_stacks_of_torchs_own_collate_lie_in_memory_that_is_used_again() -> None:
    used: set[int] = set()
    seen = 0
    for batch in DataLoader(Samples(60), batch_size=3, num_workers=1):
        numbers = torch.arange(seen, seen + 3)
        assert batch["image"].shape == (3, 3, SIDE, SIDE)
        assert batch["array"].shape == (3, SIDE, SIDE, 3)
        assert torch.equal(batch["label"], numbers)
        assert torch.equal(batch["few"], numbers[:, None].expand(3, 2))
        assert (batch["image"] == numbers[:, None, None, None]).all()
        assert (batch["array"] == numbers[:, None, None, None]).all()
        assert (batch["image"].dtype, batch["array"].dtype) == (torch.uint8, torch.float32)
        assert not any(batch[name].is_shared() for name in ("image", "array", "few"))
        files = blocks_of([batch["image"], batch["array"]])
        assert len(files) == 2
        used |= files
        seen += 3
    assert seen == 60
    # Not one for each of 40 stacks.
    assert len(used) < 20


def test_what_torch_does_not_stack_it_still_refuses() -> None:
    with pytest.raises(RuntimeError, match=r"resize|stack expects"):
        next(iter(DataLoader(Samples(is_ragged=True), batch_size=3, num_workers=1)))


class Stacked(IterableDataset[Any]):
    """Images of ours that a user stacks, and how many of the last ones were written to shared memory first."""

    def __iter__(self) -> Any:
        hand_over.recycle_tensors()
        pipeline = Compose([{"type": "DefaultFormatBundle", "img_to_float": False}])
        blocks = hand_over._blocks()
        assert blocks is not None
        for _ in range(30):
            images = []
            for number in range(4):
                sample = pipeline({"img": np.full((SIDE, SIDE, 3), number, np.uint8), "img_fields": ["img"]})
                assert sample is not None
                images.append(sample["img"].data)
            yield torch.stack(images), sum(image.data_ptr() in blocks._blocks for image in images)


def test_images_that_are_stacked_leave_shared_memory_to_the_stacks() -> None:
    *_, (stack, placed) = DataLoader(Stacked(), batch_size=None, num_workers=1)

    assert placed == 0
    assert torch.equal(stack[:, 0, 0, 0], torch.arange(4, dtype=torch.uint8))


ARRAYS = [
    np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE),
    np.zeros((3, SIDE, SIDE), np.uint8),
    np.arange(SIDE * SIDE, dtype=np.float64)[7:],
    np.full((3, SIDE * SIDE), True),
]
ODD_ARRAYS = [
    np.arange(SIDE * SIDE).astype("M8[s]"),
    np.arange(SIDE * SIDE, dtype=np.float64).reshape(SIDE, SIDE).T,
    np.arange(SIDE * SIDE, dtype=">f8"),
    np.full(100_000, None),
    np.zeros(100_000, dtype=[("x", "f4"), ("y", "f4")]),
    np.arange(10),
    np.zeros((0, 5)),
    np.array(3.0),
]


class Arrays(IterableDataset[Any]):
    """Of numpy, as a transform that knows nothing of torch makes them."""

    def __iter__(self) -> Any:
        hand_over.recycle_tensors()
        for _ in range(10):
            yield ARRAYS, ODD_ARRAYS


def test_arrays_come_in_memory_that_is_used_again_and_odd_ones_as_before() -> None:
    used: set[int] = set()
    for arrays, odd in DataLoader(Arrays(), batch_size=None, num_workers=1, collate_fn=_as_it_is):
        for array, expected in zip((*arrays, *odd), (*ARRAYS, *ODD_ARRAYS), strict=True):
            # pickle, too, has numbers in the order of this machine.
            assert (array.dtype, array.shape) == (expected.dtype.newbyteorder("="), expected.shape)
            assert (array == expected).all()
            assert array.flags.writeable
        files = blocks_of([torch.from_numpy(array.view(np.uint8)) for array in arrays])
        assert len(files) == len(ARRAYS)
        used |= files
        # The user's own.
        arrays[0][...] = 7
        del array
    assert len(used) < 10 * len(ARRAYS) / 2


def _as_it_is(sample: Any) -> Any:
    return sample


def _look(tensor: torch.Tensor, number: int, go: Any, answer: Any) -> None:
    # By numpy: torch's threads are not in a forked child.
    values = tensor.numpy()
    go.wait(30)
    answer.put(bool((values == number % 251).all()))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_another_process_that_was_given_a_batch_keeps_it(start: str) -> None:
    """Forked with it, or sent it: in neither case does a worker write there when the parent has dropped it."""
    context = multiprocessing.get_context(start)
    go, answer = context.Event(), context.SimpleQueue()
    batches = iter(DataLoader(Images(), batch_size=None, num_workers=1))
    number, tensor = next(batches)
    other = context.Process(target=_look, args=(tensor, number, go, answer))
    other.start()
    del tensor
    for later, tensor in batches:
        assert is_right(later, tensor)
    go.set()

    assert answer.get() is True
    other.join(30)
    assert other.exitcode == 0


def test_a_child_that_ends_frees_nothing_of_its_parent() -> None:
    batches = iter(DataLoader(Images(), batch_size=None, num_workers=1))
    number, tensor = next(batches)
    child = os.fork()
    if child == 0:
        del tensor
        os._exit(0)
    os.waitpid(child, 0)
    for _ in batches:
        pass

    assert is_right(number, tensor)


class Cached(IterableDataset[Any]):
    """The same tensor again and again, changed in between by nobody."""

    def __iter__(self) -> Any:
        hand_over.recycle_tensors()
        tensor = hand_over.new_shared((SIDE, SIDE), torch.float32)
        assert tensor is not None
        tensor.numpy()[...] = 5
        for number in range(20):
            yield number, tensor


def test_a_tensor_that_is_sent_again_and_again_is_not_filled_meanwhile() -> None:
    kept = [tensor for number, tensor in DataLoader(Cached(), batch_size=None, num_workers=1) if number % 3 == 0]

    assert all((tensor == 5).all() for tensor in kept)


def _container(fetched: Fetched) -> dict[str, Any]:
    tensor = image(fetched.index)[None].expand(3, SIDE, SIDE).contiguous()
    return {"img": DataContainer(tensor, stack=True), "number": fetched.index}


def _collate(samples: list[Any]) -> Any:
    return collate(samples, samples_per_gpu=len(samples))


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_dataset_of_ours_hands_its_batches_over_so(batch_size: int) -> None:
    uris = [f"memory://{number}" for number in range(40)]
    dataset = AsyncIterableDataset(
        uris, transform=_container, storage=MemoryStore(dict.fromkeys(uris, b"x")), batch_size=batch_size
    )
    used: set[int] = set()
    seen = []
    for batch in DataLoader(dataset, batch_size, num_workers=1, collate_fn=_collate):
        (stack,) = batch["img"].data
        used |= blocks_of([stack])
        seen += batch["number"].tolist()
        assert all(is_right(int(number), one) for number, one in zip(batch["number"], stack, strict=True))

    assert seen == list(range(40))
    assert 0 < len(used) < 10


def _normalized(fetched: Fetched) -> dict[str, Any]:
    pipeline = Compose([{"type": "Normalize", "mean": [0] * 3, "std": [1] * 3}, {"type": "DefaultFormatBundle"}])
    image = pipeline({"img": np.full((SIDE, SIDE, 3), fetched.index, np.uint8)})
    assert image is not None
    return {"img": image["img"]}


def _collate_late(samples: list[Any]) -> Any:
    return {"late": [one["img"].late is not None for one in samples], **_collate(samples)}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_worker_writes_images_to_their_stack(batch_size: int) -> None:
    uris = [f"memory://{number}" for number in range(9)]
    dataset = AsyncIterableDataset(
        uris, transform=_normalized, storage=MemoryStore(dict.fromkeys(uris, b"x")), batch_size=batch_size
    )
    assert next(iter(dataset))["img"].late is None
    numbers = []
    for batch in DataLoader(dataset, batch_size, num_workers=1, collate_fn=_collate_late):
        assert batch["late"] == [True] * batch_size
        numbers += batch["img"].data[0][:, 0, -1, -1].tolist()

    assert numbers == list(range(9))


def test_only_a_worker_recycles() -> None:
    hand_over.recycle_tensors()

    assert hand_over.new_shared((SIDE, SIDE), torch.float32) is None
    assert np.isclose(float(image(3).mean()), 3)


def keep_many() -> list[bool]:
    """With so few files allowed that the arrays of half a batch would take them all."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, most))
    kept = list(DataLoader(ImageArrays(), batch_size=None, num_workers=2, timeout=60))
    return [bool((array == number % 251).all()) for number, array in kept]


class ImageArrays(Images):
    """As those, but no tensors: torch's own take a file each."""

    def __iter__(self) -> Any:
        return ((number, tensor.numpy()) for number, tensor in super().__iter__())


def test_more_than_there_may_be_files_go_another_way() -> None:
    # In a process of its own, for the limit.
    assert call_in_fresh_process(f"{__name__}:keep_many") == [True] * COUNT


def with_its_bytes(fetched: Fetched) -> dict[str, Any]:
    return {"raw": memoryview(fetched.data), "index": fetched.index}


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_bytes_of_an_object_may_go_with_a_sample(start: str) -> None:
    """Those of S3 are a view, of which the pickler knows nothing; its batch would never arrive."""
    bodies = {f"memory://bucket/{number}": bytes([number]) * 1000 * number for number in range(8)}
    dataset = AsyncIterableDataset(list(bodies), storage=MemoryStore(bodies), transform=with_its_bytes)

    loader = DataLoader(dataset, 2, collate_fn=list, num_workers=1, multiprocessing_context=start, timeout=60)

    got = [sample for batch in loader for sample in batch]
    assert [(sample["index"], sample["raw"]) for sample in got] == list(enumerate(bodies.values()))
