"""Milliseconds a training step: `keras.layers.LSTM` in `fit`, and the same with the fused kernel: `make bench-step`.

One process, one thread, batch 128, a vocabulary of 20,000, masked padding of up to 8 tokens, dropout 0.2; the two in turn, three
times each.
"""

import contextlib
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import keras
import numpy as np
import tensorflow as tf

from tuning.models import lstm_classifier
from tuning.models.fused import fused as with_kernels

ROWS, BATCH, N_BATCHES, REPEATS = 20_000, 128, 20, 3
CASES = [(100, 16, 16), (100, 32, 20), (200, 16, 16), (200, 32, 32), (200, 64, 64), (200, 128, 64)]  # length, units, embedding


def step_ms(length: int, units: int, embedding_dim: int, *, fused: bool) -> float:
    """Milliseconds a step of one epoch, after two batches that trace."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    n = BATCH * N_BATCHES
    x = rng.integers(1, ROWS, (n, length)).astype(np.int32)
    x[np.arange(length) >= rng.integers(max(length - 8, 1), length + 1, n)[:, None]] = 0
    y = rng.integers(0, 2, n)
    model = lstm_classifier(vocab_size=ROWS, embedding_dim=embedding_dim, lstm_units=units, recurrent_dropout=0.0, masked=True)
    with with_kernels(model) if fused else contextlib.nullcontext():
        model.fit(x[: 2 * BATCH], y[: 2 * BATCH], batch_size=BATCH, verbose=0)
        started = time.perf_counter()
        model.fit(x, y, batch_size=BATCH, verbose=0)
    return (time.perf_counter() - started) / N_BATCHES * 1000


def main() -> None:
    """Print a Markdown table."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print("| length, units, embedding | Keras | fused | ratio |\n|---|---|---|---|")
    for case in CASES:
        pairs = [(step_ms(*case, fused=False), step_ms(*case, fused=True)) for _ in range(REPEATS)]
        stock, fused = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"| {', '.join(map(str, case))} | {stock:.1f} | {fused:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
