"""The part of a machine that a control group grants, read from folders with the kernel's layout."""

import os
import resource
from pathlib import Path

import pytest

from tuning import hardware
from tuning.hardware import core_quota, memory_limit
from tuning.workers import limits
from tuning.workers.limits import TrialLimits, with_memory


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


def test_available_cores_are_those_of_this_process() -> None:
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert hardware.available_cores() == 1
    finally:
        os.sched_setaffinity(0, cores)


def test_share_of_memory_is_that_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "memory_limit", lambda: 10 * 2**30)
    assert with_memory(TrialLimits(), n_workers=2).memory_mb == pytest.approx(0.9 * 10 * 2**10 / 2)


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
