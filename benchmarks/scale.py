"""Quantities that must stay small in a large study: the workers' lost time, the time of a trial's
view, memory, and the coordinator's time. Each is measured in a fresh process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import coordinator, rows, worker_memory, worker_time
from benchmarks.goals import figures
from benchmarks.processes import in_fresh_process
from benchmarks.settings import Settings
from benchmarks.sides import sides_of
from tuning.data.splits import SplitReviews


def measure(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> dict[str, Any]:
    """Measure every figure of the part `scale`, each group between two calibrations."""
    sides = sides_of(settings, show=show)
    parts = {
        "worker_time": sides.measure(
            "the workers' time", partial(_worker_time, settings, show=show)
        ),
        "tokenizing": sides.measure(
            "tokenizing", partial(_tokenizing, settings, splits, show=show)
        ),
        **sides.measure("memory", partial(_memory, settings, splits, show=show)),
        "coordinator": sides.measure("the coordinator", partial(_coordinator, settings, show=show)),
    }
    view = next(size for size in parts["tokenizing"] if "view_ms" in size)
    small, large = parts["coordinator"]
    values = {
        "share_train_evaluate": parts["worker_time"]["share"],
        "view_ms": view["view_ms"],
        "view_tokenizations": view["n_tokenized"],
        "tokenizing_growth": rows.growth(parts["tokenizing"]),
        "peak_memory_gib": parts["memory"]["total_gib"],
        "ngram_seconds": parts["ngrams"]["seconds"],
        "ngram_memory_gib": parts["ngrams"]["peak_memory_gib"],
        "worker_memory_growth": parts["worker_memory"]["growth"],
        "coordinator_share_trial_10": small["share"],
        "coordinator_share_trial_5000": large["share"],
    }
    return {**figures(values), **parts, "noise": sides.record()}


def _worker_time(settings: Settings, *, show: Callable[[str], None]) -> dict[str, Any]:
    n_trials = settings.size(20, tiny=3)
    show(f"the workers' time by phase, {n_trials} trials")
    arguments = {
        "data": settings.data,
        "seed": settings.seed,
        "n_workers": settings.n_workers,
        "n_trials": n_trials,
    }
    return in_fresh_process(worker_time.measure, log_path=settings.log_path, **arguments)


def _tokenizing(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> list[dict[str, Any]]:
    sizes = settings.size((10_000, 100_000, 1_000_000), tiny=(500, 1_000, 2_000))
    measured = []
    for n_rows in sizes:
        show(f"tokenizing {n_rows:,} reviews")
        arguments = {
            "splits": splits,
            "n_rows": n_rows,
            "seed": settings.seed,
            "with_view": n_rows == sizes[1],
        }
        measured.append(
            in_fresh_process(rows.tokenize_rows, log_path=settings.log_path, **arguments)
        )
    return measured


def _memory(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> dict[str, Any]:
    n_large, n_trials = settings.size((1_000_000, worker_memory.N_TRIALS), tiny=(2_000, 3))
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder) / "large.parquet", Path(folder) / "small.parquet"
        for path, n_rows in ((large, n_large), (small, worker_memory.N_ROWS)):
            drawn = {"splits": splits, "path": path, "n_rows": n_rows, "seed": settings.seed}
            in_fresh_process(rows.write_reviews, log_path=settings.log_path, **drawn)
        show(f"memory of a trial on {n_large:,} reviews")
        memory = in_fresh_process(
            rows.memory, log_path=settings.log_path, path=large, seed=settings.seed
        )
        show(f"n-grams of {n_large:,} reviews")
        ngrams = in_fresh_process(
            rows.count_ngrams, log_path=settings.log_path, path=large, seed=settings.seed
        )
        show(f"memory of a worker over {n_trials} trials")
        arguments = {"path": small, "seed": settings.seed, "n_trials": n_trials}
        return {
            "memory": memory,
            "ngrams": ngrams,
            "worker_memory": in_fresh_process(
                worker_memory.measure, log_path=settings.log_path, **arguments
            ),
        }


def _coordinator(settings: Settings, *, show: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure the coordinator's time at trial 10, the first that TPE proposes after ten random
    trials, and at trial 5,000.
    """
    measured = []
    for n_before in settings.size((10, 5_000), tiny=(10, 20)):
        show(f"coordinator at trial {n_before:,}")
        arguments = {
            "n_before": n_before,
            "n_trials": settings.size(10, tiny=2),
            "seed": settings.seed,
        }
        measured.append(
            in_fresh_process(coordinator.measure, log_path=settings.log_path, **arguments)
        )
    return measured
