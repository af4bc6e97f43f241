"""The part of a machine that a control group grants, read from folders with the kernel's layout,
and what is done on systems that lack an interface of Linux.
"""

import os
import resource
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuning import hardware
from tuning.config import Limits
from tuning.hardware import core_quota, memory_limit
from tuning.workers import pool, worker
from tuning.workers.pool import with_memory


@pytest.fixture
def groups(tmp_path: Path) -> tuple[Path, Path]:
    """Return the folder of a Slurm step of two cores and 3 GB in a job of 2 GB, and the file that
    names the group of this process.
    """
    step = tmp_path / "groups" / "job_1" / "step_0"
    step.mkdir(parents=True)
    (step / "cpu.max").write_text("200000 100000\n")
    (step / "memory.max").write_text("3000000000\n")
    (step.parent / "cpu.max").write_text("max 100000\n")
    (step.parent / "memory.max").write_text("2000000000\n")
    own = tmp_path / "own"
    own.write_text("4:memory:/elsewhere\n0::/job_1/step_0\n")
    return tmp_path / "groups", own


def test_least_limit_of_all_groups_holds(groups: tuple[Path, Path]) -> None:
    assert core_quota(*groups) == 2.0
    assert memory_limit(*groups) == 2_000_000_000


@pytest.mark.parametrize("text", ["", "0::/\n", "0::/../x\n", "4:memory:/job_1\n"])
def test_without_limits_there_are_none(groups: tuple[Path, Path], text: str) -> None:
    groups[1].write_text(text)
    assert (core_quota(*groups), memory_limit(*groups)) == (None, None)


@pytest.mark.parametrize(("quota", "cores"), [(None, None), (1000.0, None), (0.5, 1), (1.9, 1)])
def test_cores_are_no_more_than_their_quota(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int | None
) -> None:
    unlimited = hardware.available_cores()
    monkeypatch.setattr(hardware, "core_quota", lambda: quota)
    assert hardware.available_cores() == (cores or unlimited)


def test_share_of_memory_is_that_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "memory_limit", lambda: 10 * 2**30)
    assert with_memory(Limits(), n_workers=2).trial_memory_mb == pytest.approx(0.9 * 10 * 2**10 / 2)


def test_memory_left_is_that_of_the_process_s_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = (2**31, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limit)
    monkeypatch.setattr(hardware, "allocated_memory", lambda: 2**30)
    assert hardware.memory_left() == 2**30
    monkeypatch.setattr(hardware, "allocated_memory", lambda: 2**32)
    assert hardware.memory_left() == 0
    limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert hardware.memory_left() is None


def test_allocated_memory_grows_with_an_array() -> None:
    before = hardware.allocated_memory()
    array = bytearray(2**26)
    after = hardware.allocated_memory()
    assert before and after and after - before >= len(array)


@pytest.fixture
def without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file below /proc and /sys be missing, as on macOS."""
    original = {name: getattr(Path, name) for name in ("read_text", "write_text", "exists")}

    def missing(path: Path, name: str, *args: Any, **options: Any) -> Any:
        if not path.is_relative_to("/proc") and not path.is_relative_to("/sys"):
            return original[name](path, *args, **options)
        if name == "exists":
            return False
        raise FileNotFoundError(path)

    for name in original:
        monkeypatch.setattr(
            Path,
            name,
            lambda path, *args, name=name, **options: missing(path, name, *args, **options),
        )


@pytest.fixture
def set_limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the limits that are set, each of which the system refuses."""
    tried: list[tuple[int, int]] = []

    def refuse(kind: int, limit: tuple[int, int]) -> None:
        tried.append(limit)
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    return tried


@pytest.mark.usefixtures("without_proc")
def test_without_proc_there_are_no_limits_of_groups() -> None:
    assert (core_quota(), memory_limit()) == (None, None)
    assert hardware.available_cores() == len(os.sched_getaffinity(0))


@pytest.mark.usefixtures("without_proc")
def test_without_proc_the_allocated_memory_is_unknown_and_not_limited(
    set_limits: list[tuple[int, int]],
) -> None:
    assert (hardware.allocated_memory(), hardware.memory_left()) == (None, None)
    worker._limit_memory(100.0)
    assert not set_limits


@pytest.mark.usefixtures("without_proc")
@pytest.mark.parametrize(("platform", "unit"), [("linux", 2**10), ("darwin", 2**20)])
def test_without_proc_the_peak_memory_is_that_of_the_process(
    platform: str, unit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    hardware.reset_peak_memory()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert hardware.peak_memory_mb() == pytest.approx(peak / unit, rel=0.1)


def test_without_sched_getaffinity_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(hardware, "core_quota", lambda: None)
    assert hardware.available_cores() == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert hardware.available_cores() == 1


@pytest.mark.parametrize(
    ("visible", "n_gpus"),
    [(None, 4), ("", 0), ("-1", 0), ("2", 1), ("0, 1,-1,3", 2), ("GPU-89-d7,GPU-1", 2)],
)
def test_visible_gpus_are_those_of_cuda(
    visible: str | None, n_gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(hardware, "Path", lambda path: SimpleNamespace(glob=lambda _: range(4)))
    assert hardware.available_gpus() == n_gpus


def test_limit_of_memory_that_the_system_refuses_is_left_out(
    set_limits: list[tuple[int, int]],
) -> None:
    worker._limit_memory(100.0)
    assert len(set_limits) == 1
