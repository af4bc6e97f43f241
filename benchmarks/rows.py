"""Tokenizing time, the time of a trial's view, and the memory of a trial, for 10,000 to 1,000,000
reviews.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.configurations import BATCH_SIZE
from benchmarks.ours import search, study_config
from benchmarks.processes import peak_memory_gib
from benchmarks.texts import load_split, resample, resample_frame
from tuning.config import DataConfig, TrainConfig
from tuning.data.arrow_tokenizer import tokenize
from tuning.data.corpus import build_corpus, open_corpus
from tuning.data.ngrams import build_ngrams
from tuning.data.splits import SplitReviews
from tuning.data.tokenizer import FIRST_WORD_ID
from tuning.training.batching import View, WordView, evaluation_batches, training_batches

VIEWS = (
    (2_000, 50),
    (8_000, 100),
    (30_000, 200),
    (1_000, 40),
    (20_000, 120),
)  # vocabulary size and sequence length of a trial


def tokenize_rows(
    *, splits: SplitReviews, n_rows: int, seed: int, with_view: bool
) -> dict[str, Any]:
    """Return the seconds to build the corpus of `n_rows` reviews, which are drawn from the data
    with replacement. `with_view` adds the times of `_views`.
    """
    drawn = resample(splits, n_rows=n_rows, seed=seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "corpus"
        started = time.perf_counter()
        corpus = build_corpus(folder, drawn)
        seconds = time.perf_counter() - started
        size = {
            "n_rows": n_rows,
            "n_tokens": corpus.card.n_tokens,
            "tokenizing_seconds": round(seconds, 3),
        }
        return {**size, **(_views(folder) if with_view else {})}


def _views(folder: Path) -> dict[str, Any]:
    """Return the milliseconds until a trial has its first batch, for the trials of `VIEWS`.

    The trial opens the corpus, orders the batches of an epoch and of the validation split, and cuts
    the first batch. `cut_epoch_ms` is the time to cut all batches of an epoch, which happens during
    training, ahead of the steps that use them.
    """
    view_ms, cut_ms = [], []
    with mock.patch("tuning.data.corpus.tokenize", wraps=tokenize) as counted:
        for vocab_size, length in VIEWS:
            started = time.perf_counter()
            corpus = open_corpus(folder)
            train, validation = (
                View({"ids": WordView(corpus.split(name).texts, vocab_size, length, trims=True)})
                for name in ("train", "validation")
            )
            batches = training_batches(train, batch_size=BATCH_SIZE, seed=0, epoch=1)
            evaluation_batches(validation)
            train.batch(batches[0])
            ready = time.perf_counter()
            for rows in batches:
                train.batch(rows)
            view_ms.append(round((ready - started) * 1000, 2))
            cut_ms.append(round((time.perf_counter() - ready) * 1000, 2))
        n_tokenized = counted.call_count
    return {
        "view_ms": statistics.median(view_ms),
        "all_view_ms": view_ms,
        "cut_epoch_ms": cut_ms,
        "n_tokenized": n_tokenized,
    }


def write_reviews(*, splits: SplitReviews, path: Path, n_rows: int, seed: int) -> None:
    """Write `n_rows` reviews to a Parquet file, as a user may have them."""
    resample_frame(splits, n_rows=n_rows, seed=seed).to_parquet(path)


def memory(*, path: Path, seed: int) -> dict[str, float]:
    """Return the peak memory, in GiB, of the coordinator, which reads, splits and tokenizes the
    file, and of a worker, which trains on it for one epoch.

    The worker's memory includes the pages that it shares with the process it was forked from.
    """
    data = DataConfig(data=str(path), text_column="text", label_column="label")
    config = study_config("memory", data, seed=seed, train=TrainConfig(epochs=1))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        summary = search(config, folder=Path(folder), n_trials=1, n_workers=1).summary
    worker = float(summary.trials[0].user_attrs["peak_memory_mb"]) / 1024
    coordinator = peak_memory_gib()
    return {
        "coordinator_gib": round(coordinator, 3),
        "worker_gib": round(worker, 3),
        "total_gib": round(coordinator + worker, 3),
        "seconds": round(time.perf_counter() - started, 1),
    }


def count_ngrams(*, path: Path, seed: int) -> dict[str, float]:
    """Return the seconds of counting the n-grams of a file's reviews, the peak memory of a process
    that reads, splits and tokenizes the file and counts them, in GiB, and the number of n-grams
    that occur twice.
    """
    data = DataConfig(data=str(path), text_column="text", label_column="label")
    with tempfile.TemporaryDirectory() as name:
        corpus = build_corpus(Path(name) / "corpus", load_split(data, seed=seed))
        started = time.perf_counter()
        build_ngrams(corpus)
        seconds = time.perf_counter() - started
        n_ngrams = len(corpus.ngram_orders) - FIRST_WORD_ID
    return {
        "seconds": round(seconds, 1),
        "peak_memory_gib": round(peak_memory_gib(), 3),
        "n_ngrams": n_ngrams,
    }


def growth(sizes: list[dict[str, Any]]) -> float:
    """Return the maximum tokenizing time per row, divided by the time of the smallest size; 1 means
    linear.
    """
    per_row = [size["tokenizing_seconds"] / size["n_rows"] for size in sizes]
    return float(np.max(per_row[1:]) / per_row[0])
