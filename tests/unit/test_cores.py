from __future__ import annotations

import os
from pathlib import Path

import pytest

from asyncio_loader.cores import bound_cores, count_cores, cpu_quota


def groups(root: Path, listed: str, files: dict[str, str]) -> Path:
    """A file system with control groups; files by their path below ``/sys/fs/cgroup``."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(listed)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> int:
    """A process that is bound to four cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 6, 7}, raising=False)
    return 4


def test_the_cores_that_the_process_is_bound_to_count(bound: int, tmp_path: Path) -> None:
    assert bound_cores() == bound
    assert count_cores(tmp_path) == bound


@pytest.mark.parametrize(("known", "counted"), [(6, 6), (None, 1)])
def test_those_of_the_machine_where_nothing_is_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: int | None, counted: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: known)

    assert count_cores(tmp_path) == counted


@pytest.mark.parametrize(
    ("quota_us", "counted"), [(1_000, 1), (100_000, 1), (100_001, 2), (150_000, 2), (400_000, 4), (1_600_000, 4)]
)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.usefixtures("bound")
def test_a_quota_counts_rounded_up(tmp_path: Path, version: int, quota_us: int, counted: int) -> None:
    if version == 2:
        root = groups(tmp_path, "0::/\n", {"cpu.max": f"{quota_us} 100000\n"})
    else:
        files = {"cpu/cpu.cfs_quota_us": f"{quota_us}\n", "cpu/cpu.cfs_period_us": "100000\n"}
        root = groups(tmp_path, "1:cpu:/\n", files)

    assert count_cores(root) == counted


@pytest.mark.usefixtures("bound")
def test_no_limit_is_all_the_cores(tmp_path: Path) -> None:
    assert count_cores(groups(tmp_path, "0::/\n", {"cpu.max": "max 100000\n"})) == 4


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
