from __future__ import annotations

import pickle
from multiprocessing.reduction import ForkingPickler

from asyncio_loader.bridge.pickling import reduce_between_processes


class Meters:
    def __init__(self, value: float) -> None:
        self.value = value


class Depth(Meters):
    pass


def _as_text(meters: Meters) -> tuple[type[str], tuple[str]]:
    return str, (f"{meters.value} m",)


def test_only_what_goes_between_processes_is_reduced_and_only_the_class_itself() -> None:
    for _ in range(2):
        reduce_between_processes(Meters, _as_text)

    assert pickle.loads(bytes(ForkingPickler.dumps(Meters(3)))) == "3 m"
    assert pickle.loads(pickle.dumps(Meters(3))).value == 3
    assert pickle.loads(bytes(ForkingPickler.dumps(Depth(3)))).value == 3
