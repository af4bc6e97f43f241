"""Quantities that must stay small in a large study: the workers' lost time, the time of a trial's
view, memory, and the coordinator's time. Each is measured in a fresh process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import coordinator, ours
from benchmarks.configurations import BATCH_SIZE
from benchmarks.data import load_split, resample, write_reviews
from benchmarks.goals import figures
from benchmarks.processes import peak_memory_gib
from benchmarks.settings import Settings
from benchmarks.sides import Sides
from tuning.config import DataConfig, StudyConfig, TrainConfig
from tuning.data.splits import SplitReviews
from tuning.inputs.corpus import build_corpus, open_corpus
from tuning.inputs.ngram_vocabulary import build_ngrams
from tuning.inputs.token_ids import WordView
from tuning.inputs.tokenizer import FIRST_WORD_ID
from tuning.search.tune import Budget
from tuning.training.batching import View, evaluation_batches, training_batches

# Vocabulary size and sequence length of the trials whose views are timed.
VIEWS = ((2_000, 50), (8_000, 100), (30_000, 200), (1_000, 40), (20_000, 120))


def measure(settings: Settings, splits: SplitReviews, sides: Sides) -> dict[str, Any]:
    seed = settings.seed
    worker_time = sides.measure(
        "the workers' time by phase",
        time_workers,
        data=settings.data,
        seed=seed,
        n_workers=settings.n_workers,
        n_trials=settings.size(20, tiny=3),
    )
    sizes = settings.size((10_000, 100_000, 1_000_000), tiny=(500, 1_000, 2_000))
    tokenizing = [
        sides.measure(
            f"tokenizing {n_rows:,} reviews",
            tokenize_rows,
            splits=splits,
            n_rows=n_rows,
            seed=seed,
            with_view=n_rows == sizes[1],
        )
        for n_rows in sizes
    ]
    with tempfile.TemporaryDirectory() as folder:
        large = sides.run(
            write_reviews,
            splits=splits,
            path=Path(folder) / "large.parquet",
            n_rows=sizes[-1],
            seed=seed,
        )
        on_large = {"data": large, "seed": seed}
        memory = sides.measure(
            f"memory of a trial on {sizes[-1]:,} reviews", peak_memory, **on_large
        )
        ngrams = sides.measure(f"n-grams of {sizes[-1]:,} reviews", count_ngrams, **on_large)
    # TPE proposes trial 10; the first draws are random.
    at_small, at_large = (
        sides.measure(
            f"the coordinator at trial {n_before:,}",
            coordinator.measure,
            splits=splits,
            n_before=n_before,
            n_trials=settings.size(10, tiny=2),
            seed=seed,
        )
        for n_before in settings.size((10, 5_000), tiny=(10, 20))
    )
    values = {
        "share_train_evaluate": worker_time["share"],
        "view_ms": tokenizing[1]["view_ms"],
        "tokenizing_growth": tokenizing_growth(tokenizing),
        "peak_memory_gib": memory["coordinator_gib"] + memory["worker_gib"],
        "ngram_seconds": ngrams["seconds"],
        "ngram_memory_gib": ngrams["peak_memory_gib"],
        "coordinator_share_trial_10": at_small["share"],
        "coordinator_share_trial_5000": at_large["share"],
    }
    return {
        **figures(values),
        "worker_time": worker_time,
        "tokenizing": tokenizing,
        "memory": memory,
        "ngrams": ngrams,
        "coordinator": [at_small, at_large],
    }


def time_workers(*, data: DataConfig, seed: int, n_workers: int, n_trials: int) -> dict[str, Any]:
    """Return the seconds by phase of a study of `masked_lstm`, and the share of training and
    evaluation. The first step of a training, which traces, is a phase of its own.
    """
    config = StudyConfig(study="worker_time", space="masked_lstm", seed=seed, data=data)
    with tempfile.TemporaryDirectory() as folder:
        summary = ours.search(
            config, folder=Path(folder), n_workers=n_workers, budget=Budget(n_trials=n_trials)
        ).summary
    overhead = summary.overhead_share
    return {
        "share": "no trial has seconds" if overhead is None else 1 - overhead,
        "seconds_by_phase": summary.seconds_by_phase,
        "n_trials": summary.n_finished,
    }


def tokenize_rows(
    *, splits: SplitReviews, n_rows: int, seed: int, with_view: bool
) -> dict[str, Any]:
    drawn = resample(splits, n_rows=n_rows, seed=seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "corpus"
        started = time.perf_counter()
        build_corpus(folder, drawn)
        size = {"n_rows": n_rows, "tokenizing_seconds": round(time.perf_counter() - started, 3)}
        return {**size, **({"view_ms": time_views(folder)} if with_view else {})}


def time_views(folder: Path) -> float:
    """Return the median of the milliseconds until a trial of `VIEWS` has its first batch."""
    view_ms = []
    for vocab_size, length in VIEWS:
        started = time.perf_counter()
        corpus = open_corpus(folder)
        words = (corpus.split(name).texts for name in ("train", "validation"))
        train, validation = (
            View({"ids": WordView(texts, vocab_size, length, pads_to_longest=True)})
            for texts in words
        )
        batches = training_batches(train, batch_size=BATCH_SIZE, seed=0, epoch=1)
        evaluation_batches(validation)
        train.batch(batches[0])
        view_ms.append(round((time.perf_counter() - started) * 1000, 2))
    return statistics.median(view_ms)


def tokenizing_growth(sizes: Sequence[dict[str, Any]]) -> float:
    """Return the maximum tokenizing time per row over that of the smallest size."""
    first, *others = (size["tokenizing_seconds"] / size["n_rows"] for size in sizes)
    return float(max(others) / first)


def peak_memory(*, data: DataConfig, seed: int) -> dict[str, float]:
    # The coordinator reads, splits and tokenizes the file, and the worker trains on it for an
    # epoch. The worker's memory includes the pages that it shares with the process it was forked
    # from.
    config = ours.study_config("memory", data, seed=seed, train=TrainConfig(epochs=1))
    with tempfile.TemporaryDirectory() as folder:
        outcome = ours.search(config, folder=Path(folder), n_workers=1, budget=Budget(n_trials=1))
    worker = float(outcome.summary.trials[0].user_attrs["peak_memory_mb"]) / 1024
    return {"coordinator_gib": round(peak_memory_gib(), 3), "worker_gib": round(worker, 3)}


def count_ngrams(*, data: DataConfig, seed: int) -> dict[str, float]:
    """The peak memory is that of a process that reads, splits and tokenizes the file too."""
    with tempfile.TemporaryDirectory() as name:
        corpus = build_corpus(Path(name) / "corpus", load_split(data, seed=seed))
        started = time.perf_counter()
        build_ngrams(corpus)
        seconds = time.perf_counter() - started
        n_ngrams = len(corpus.ngram_orders) - FIRST_WORD_ID
    memory = round(peak_memory_gib(), 3)
    return {"seconds": round(seconds, 1), "peak_memory_gib": memory, "n_ngrams": n_ngrams}
