"""The record of a part, `results/bench/<part>-<date>.json`: its figures, and the facts that are
needed to repeat the measurement.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import threadpoolctl

from benchmarks.data import describe_data
from benchmarks.settings import Settings
from tuning.atomic_io import write_json
from tuning.data.splits import SplitReviews
from tuning.hardware import available_cores
from tuning.study.study import describe_versions, git_commit

PEERS = ("fasttext-numpy2-wheel", "optuna-integration", "tensorboard")


def describe_machine() -> dict[str, Any]:
    path = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", path.read_text() if path.exists() else "")
    blas = [info for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": available_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        # The variable `OPENBLAS_CORETYPE` can choose other kernels than those of the processor.
        "blas_kernels": sorted({info.get("architecture", "") for info in blas}),
    }


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
        "git_commit": git_commit(),
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
