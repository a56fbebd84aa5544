from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import cv2
import pytest
import torch

from asyncio_loader.bridge import native_threads
from asyncio_loader.bridge.native_threads import OpenCvShare, TorchShare
from asyncio_loader.bridge.ordered_map import OrderedThreadMap


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(cv2, "getNumberOfCPUs", lambda: 8)
    monkeypatch.setattr(native_threads, "count_cores", lambda: 8)
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(8)
    torch.set_num_threads(8)
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


def in_a_thread(call: Callable[[], int]) -> int:
    """What a thread gets that is born now."""
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize(("among", "share"), [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_opencv_has_its_part_until_it_is_released(among: int, share: int) -> None:
    held = OpenCvShare(among)
    lowered = cv2.getNumThreads()
    held.release()

    assert (lowered, cv2.getNumThreads()) == (share, 8)


@pytest.mark.parametrize(("among", "share"), [(1, 3), (2, 1), (3, 1)])
def test_the_part_is_one_of_what_a_container_may_use(monkeypatch: pytest.MonkeyPatch, among: int, share: int) -> None:
    monkeypatch.setattr(native_threads, "count_cores", lambda: 3)
    held = OpenCvShare(among)
    lowered = cv2.getNumThreads()
    held.release()

    assert (lowered, cv2.getNumThreads()) == (share, 8)


def test_the_last_share_restores_opencv() -> None:
    first, second = OpenCvShare(2), OpenCvShare(4)
    assert cv2.getNumThreads() == 2

    # Idempotent: it counts once.
    second.release()
    second.release()
    assert cv2.getNumThreads() == 2

    first.release()
    assert cv2.getNumThreads() == 8


def test_a_share_of_what_is_shared_already_is_one_of_the_whole() -> None:
    first, second = OpenCvShare(2), OpenCvShare(2)

    assert cv2.getNumThreads() == 4
    first.release()
    second.release()
    assert cv2.getNumThreads() == 8


def test_what_a_user_chooses_for_opencv_meanwhile_stays() -> None:
    held = OpenCvShare(2)
    cv2.setNumThreads(6)
    held.release()

    assert cv2.getNumThreads() == 6


@pytest.mark.parametrize("chosen", [6, 20])
def test_a_number_that_a_user_has_chosen_for_opencv_is_left_alone(chosen: int) -> None:
    cv2.setNumThreads(chosen)
    held = OpenCvShare(8)
    during = cv2.getNumThreads()
    held.release()

    assert (during, cv2.getNumThreads()) == (chosen, chosen)


def test_opencv_that_is_off_stays_off() -> None:
    cv2.setNumThreads(0)
    off = cv2.getNumThreads()
    held = OpenCvShare(4)

    assert cv2.getNumThreads() == off
    held.release()
    assert cv2.getNumThreads() == off


@pytest.mark.parametrize(("among", "share"), [(1, 8), (2, 4), (5, 1)])
def test_torch_has_its_part_in_the_threads_that_enter(among: int, share: int) -> None:
    native = TorchShare(among)
    found: list[int] = []

    def work() -> None:
        native.enter()
        found.append(torch.get_num_threads())

    threads = [threading.Thread(target=work) for _ in range(among)]
    for thread in threads:
        thread.start()
    native.settle()
    for thread in threads:
        thread.join()

    assert found == [share] * among


def test_torch_is_as_before_for_others() -> None:
    native = TorchShare(2)
    for _ in range(2):
        in_a_thread(lambda: native.enter() or 0)
    native.settle()

    assert torch.get_num_threads() == 8
    assert in_a_thread(torch.get_num_threads) == 8


def test_torch_without_openmp_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.openmp, "is_available", lambda: False)
    native = TorchShare(2)

    def enter() -> int:
        native.enter()
        return torch.get_num_threads()

    assert in_a_thread(enter) == 8
    native.settle()


def test_what_is_not_loaded_is_not_loaded_for_this(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cv2")
    monkeypatch.delitem(sys.modules, "torch")
    held, native = OpenCvShare(2), TorchShare(2)
    native.enter()
    native.settle()
    held.release()

    assert not {"cv2", "torch"} & sys.modules.keys()
    assert (cv2.getNumThreads(), torch.get_num_threads()) == (8, 8)


def test_threads_of_a_map_share_both_and_give_them_back() -> None:
    items = iter([0, 1, 2, 3])

    def apply(_: int) -> tuple[tuple[int, int], int]:
        return (cv2.getNumThreads(), torch.get_num_threads()), 1

    pool = OrderedThreadMap(lambda: next(items, None), apply, threads=4, budget_bytes=100, budget_items=100)
    found = [pool.get() for _ in range(4)]
    new = in_a_thread(torch.get_num_threads)
    pool.close()

    assert found == [(2, 2)] * 4
    assert (torch.get_num_threads(), new) == (8, 8)
    assert cv2.getNumThreads() == 8


def test_one_thread_has_all_of_both() -> None:
    items = iter([0])
    pool = OrderedThreadMap(
        lambda: next(items, None),
        lambda _: ((cv2.getNumThreads(), torch.get_num_threads()), 1),
        threads=1,
        budget_bytes=100,
        budget_items=100,
    )

    assert pool.get() == (8, 8)
    pool.close()
