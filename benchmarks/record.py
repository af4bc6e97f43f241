"""The record of a part, `results/bench/<part>-<date>.json`: its figures, and the facts that are
needed to repeat the measurement.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import threadpoolctl

from benchmarks.goals import PARTS
from benchmarks.settings import Settings
from tuning.atomic_io import read_json, write_json
from tuning.config import SPLITS
from tuning.data.splits import SplitReviews
from tuning.hardware import available_cores
from tuning.study.study import describe_versions, git_commit

PEERS = ("fasttext-numpy2-wheel", "optuna-integration", "tensorboard", "torch")


def machine() -> dict[str, Any]:
    """Return the processor, the number of usable cores, the memory, and the kernels of NumPy's
    BLAS, which the variable `OPENBLAS_CORETYPE` can choose.
    """
    cpu = _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()
    kibibytes = _field(Path("/proc/meminfo"), "MemTotal").split(" ")[0]
    blas = [
        info.get("architecture", "")
        for info in threadpoolctl.threadpool_info()
        if info["user_api"] == "blas"
    ]
    memory_gib = round(int(kibibytes) / 2**20, 1) if kibibytes else None
    return {
        "cpu": cpu,
        "cores": available_cores(),
        "memory_gib": memory_gib,
        "blas_kernels": sorted(set(blas)),
    }


def _field(path: Path, name: str) -> str:
    """Return the value of the first line `name: value` of a file in Linux's /proc, or an empty
    string.
    """
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def versions() -> dict[str, str]:
    """Return the versions of Python, of the packages that results depend on, and of the peers;
    "absent" for a peer that is not installed.
    """
    all_versions = describe_versions()
    for name in PEERS:
        try:
            all_versions[name] = version(name)
        except PackageNotFoundError:
            all_versions[name] = "absent"
    return all_versions


def describe(settings: Settings, splits: SplitReviews, *, command: list[str]) -> dict[str, Any]:
    """Return the machine, versions, data and command of a record."""
    return {
        "machine": machine(),
        "versions": versions(),
        "git_commit": git_commit(Path(__file__).parent),
        "data": {
            "name": settings.data.data,
            "fingerprint": splits.fingerprint,
            "n_rows": {name: len(splits.frames[name]) for name in SPLITS},
        },
        "seed": settings.seed,
        "n_workers": settings.n_workers,
        "tiny": settings.tiny,
        "command": shlex.join(command),
    }


def record_path(folder: Path, part: str, *, day: date, tiny: bool) -> Path:
    """Return the path of the record of a part and a day.

    Records of `--tiny` have other names, because their figures mean nothing.
    """
    return folder / f"{'tiny-' if tiny else ''}{part}-{day.isoformat()}.json"


def write_record(settings: Settings, part: str, values: Mapping[str, Any], *, day: date) -> Path:
    """Write a part's record, in place of a record of the same day, and return its path."""
    path = record_path(settings.folder, part, day=day, tiny=settings.tiny)
    write_json(path, {"part": part, "date": day.isoformat(), **values})
    return path


def newest_records(folder: Path, *, tiny: bool = False) -> dict[str, dict[str, Any]]:
    """Return the newest record of every part that has a record, by part."""
    newest = {}
    for part in PARTS:
        paths = sorted(folder.glob(f"{'tiny-' if tiny else ''}{part}-????-??-??.json"))
        if paths:
            newest[part] = read_json(paths[-1])
    return newest
