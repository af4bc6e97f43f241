"""The record of a part, `results/bench/<part>-<date>.json`: its figures, and the facts that are
needed to repeat the measurement.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import threadpoolctl

from benchmarks.data import describe_data
from benchmarks.settings import Settings
from tuning.atomic_io import write_json
from tuning.data.splits import SplitReviews
from tuning.hardware import available_cores
from tuning.study.study import describe_versions, git_commit

PEERS = ("fasttext-numpy2-wheel", "optuna-integration", "tensorboard", "torch")


def describe_machine() -> dict[str, Any]:
    cpu = _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()
    kibibytes = _field(Path("/proc/meminfo"), "MemTotal").split(" ")[0]
    blas = [info for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"]
    return {
        "cpu": cpu,
        "cores": available_cores(),
        "memory_gib": round(int(kibibytes) / 2**20, 1) if kibibytes else None,
        # The variable `OPENBLAS_CORETYPE` can choose other kernels than those of the processor.
        "blas_kernels": sorted({info.get("architecture", "") for info in blas}),
    }


def _field(path: Path, name: str) -> str:
    """Return the value of a line `name: value` of a file in Linux's /proc, or ""."""
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def versions() -> dict[str, str]:
    all_versions = describe_versions()
    for name in PEERS:
        try:
            all_versions[name] = version(name)
        except PackageNotFoundError:
            all_versions[name] = "absent"
    return all_versions


def write_record(
    settings: Settings,
    splits: SplitReviews,
    part: str,
    values: Mapping[str, Any],
    *,
    command: str,
    day: date,
) -> Path:
    path = settings.folder / f"{settings.size('', tiny='tiny-')}{part}-{day.isoformat()}.json"
    facts = {
        "part": part,
        "date": day.isoformat(),
        "machine": describe_machine(),
        "versions": versions(),
        "git_commit": git_commit(Path(__file__).parent),
        "data": {"name": settings.data.data, **describe_data(splits)},
        "seed": settings.seed,
        "n_workers": settings.n_workers,
        "tiny": settings.tiny,
        "command": command,
    }
    write_json(path, {**facts, **values})
    return path


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )
