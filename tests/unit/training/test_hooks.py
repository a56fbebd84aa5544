from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from uuid import uuid4

import pytest
import torch
from mmengine.logging import MessageHub

from asyncio_loader.stats import LoaderStats
from asyncio_loader.training.hooks import EpochHook, ProgressHook, ThroughputHook


def test_the_loader_is_told_the_epoch_before_it_starts() -> None:
    told: list[int] = []
    loader = SimpleNamespace(set_epoch=told.append)

    EpochHook().before_train_epoch(SimpleNamespace(epoch=3, train_loop=SimpleNamespace(dataloader=loader)))

    assert told == [3]


def test_throughput_and_the_share_of_waiting_are_logged() -> None:
    hub = MessageHub.get_instance(f"test-{uuid4().hex}")
    hub.update_scalar("train/time", 0.5)
    hub.update_scalar("train/data_time", 0.1)

    ThroughputHook().after_train_iter(SimpleNamespace(message_hub=hub), 0, data_batch=([1, 2, 3, 4], []))

    assert hub.get_scalar("train/images_per_s").current() == pytest.approx(8.0)
    assert hub.get_scalar("train/wait_share").current() == pytest.approx(0.2)


def test_the_loaders_own_figures_go_to_the_log_and_not_to_checkpoints() -> None:
    hub = MessageHub.get_instance(f"test-{uuid4().hex}")
    hub.update_scalar("train/time", 0.5)
    hub.update_scalar("train/data_time", 0.1)
    stats = iter((LoaderStats(), LoaderStats(in_flight=3, level=32, held_bytes=5_000_000)))
    hook = ThroughputHook()
    hook.before_train(SimpleNamespace(train_dataloader=SimpleNamespace(stats=lambda: next(stats))))
    hook.after_train_iter(SimpleNamespace(message_hub=hub), 0, data_batch=([1], []))

    found = {name: buffer.current() for name, buffer in hub.log_scalars.items() if "/loader/" in name}
    assert found == {
        "train/loader/samples_per_s": 0.0,
        "train/loader/mb_per_s": 0.0,
        "train/loader/wait_share": 0.0,
        "train/loader/in_flight": 3,
        "train/loader/level": 32,
        "train/loader/buffer_mb": 5.0,
    }
    assert not any("/loader/" in name for name in hub.state_dict()["log_scalars"])


def test_progress_is_reported_by_steps_from_one() -> None:
    seen: list[tuple[int, float, Mapping[str, float]]] = []
    hub = MessageHub.get_instance(f"test-{uuid4().hex}")
    hub.update_scalar("train/time", 0.5)
    hub.update_scalar("train/loader/in_flight", 3)

    loss = torch.tensor(0.25, requires_grad=True)
    ProgressHook(lambda *told: seen.append(told)).after_train_iter(
        SimpleNamespace(iter=0, message_hub=hub), 0, outputs={"loss": loss}
    )

    assert seen == [(1, 0.25, {"loader/in_flight": 3.0})]
