from __future__ import annotations

import os
from pathlib import Path

import pytest

from asyncio_loader.cores import count_cores, cpu_quota


def test_the_cores_that_the_process_is_bound_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)

    assert count_cores() == 2


@pytest.mark.parametrize(("known", "counted"), [(6, 6), (None, 1)])
def test_those_of_the_machine_where_nothing_is_bound(
    monkeypatch: pytest.MonkeyPatch, known: int | None, counted: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: known)

    assert count_cores() == counted


def groups(root: Path, listed: str, files: dict[str, str]) -> Path:
    """A file system with control groups; files by their path below ``/sys/fs/cgroup``."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(listed)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_tightest_of_nested_quotas_counts(tmp_path: Path) -> None:
    root = groups(
        tmp_path,
        "0::/pod/box\n",
        {
            "pod/cpu.max": "150000 100000\n",
            "pod/box/cpu.max": "max 100000\n",
            "other/cpu.max": "1000 100000\n",
        },
    )

    assert cpu_quota(root) == 1.5


def test_in_a_container_its_own_quota_lies_at_the_top(tmp_path: Path) -> None:
    assert cpu_quota(groups(tmp_path, "0::/../../box\n", {"cpu.max": "50000 100000\n"})) == 0.5


def test_quotas_of_version_1_are_read(tmp_path: Path) -> None:
    root = groups(
        tmp_path,
        "4:memory:/m\n3:cpu,cpuacct:/box\n",
        {
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "cpu/box/cpu.cfs_quota_us": "200000\n",
            "cpu/box/cpu.cfs_period_us": "100000\n",
        },
    )

    assert cpu_quota(root) == 2.0


@pytest.mark.parametrize("text", ["max 100000\n", "nonsense\n", "100 0\n", ""])
def test_what_limits_nothing_is_no_quota(tmp_path: Path, text: str) -> None:
    assert cpu_quota(groups(tmp_path, "0::/\n", {"cpu.max": text})) is None


def test_elsewhere_than_on_linux_there_is_none(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
