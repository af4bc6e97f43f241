"""The time of a training step on one thread: this program against Keras' LSTM in `fit` and the
sgemm floor.

The sides of a size run in one process on one thread, with batches of 128, a vocabulary of 20,000,
masked padding of up to 8 tokens, a dropout of 0.2, and Adam. The sides take turns, and a ratio is
the median of the ratios within a turn. On both Keras sides `fit` takes the same `tf.data` dataset
of finished batches; on this program's side one call into TensorFlow trains several batches, as in a
trial. The second epoch is timed, because the first one traces.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.configurations import BATCH_SIZE
from benchmarks.goals import figures
from benchmarks.settings import Settings
from benchmarks.sides import Sides
from tuning.data.splits import SplitReviews

VOCAB_SIZE, MAX_PADDING = 20_000, 8
# Sequence length, units and embedding size. Goals compare `KERAS_CASES` with Keras' LSTM, and
# `FLOOR_CASES` with the floor.
KERAS_CASES = [(100, 16, 16), (100, 32, 20), (200, 16, 16), (200, 32, 32)]
FLOOR_CASES = [(200, 64, 64), (200, 128, 64)]

Batches = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]


def measure(settings: Settings, splits: SplitReviews, sides: Sides) -> dict[str, Any]:
    cases = []
    for length, units, embedding_dim in settings.size(
        KERAS_CASES + FLOOR_CASES, tiny=[(20, 16, 16), (20, 64, 64)]
    ):
        sizes = {"length": length, "units": units, "embedding_dim": embedding_dim}
        turns = sides.measure(
            f"length {length}, units {units}, embedding {embedding_dim}",
            time_case,
            **sizes,
            n_batches=settings.size(32, tiny=3),
            n_turns=settings.size(5, tiny=1),
        )
        cases.append({**sizes, **summary_of(turns)})
    return {**figures(worst_ratios(cases)), "cases": cases}


def time_case(
    *, length: int, units: int, embedding_dim: int, n_batches: int, n_turns: int
) -> dict[str, list[float]]:
    """Return the milliseconds per step of every side in each turn."""
    import tensorflow as tf
    import threadpoolctl

    threadpoolctl.threadpool_limits(1, user_api="blas")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    ids, labels = random_batches(n_batches, length=length)
    sizes = {"embedding_dim": embedding_dim, "units": units}
    sides: dict[str, Callable[[], float]] = {
        "keras": lambda: fit_seconds((ids, labels), **sizes, fused=False),
        "ours": lambda: fit_seconds((ids, labels), **sizes, fused=True),
        "floor": lambda: floor_seconds(
            length=length, units=units, features=embedding_dim, n_steps=n_batches
        ),
    }
    turns: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(n_turns):
        for name, seconds in sides.items():
            turns[name].append(round(seconds() * 1000, 3))
    return turns


def random_batches(n_batches: int, *, length: int) -> Batches:
    """Return random ids (n_batches, 128, length), padded at the end with up to 8 zeros, and random
    labels (n_batches, 128).
    """
    rng = np.random.default_rng(0)
    ids = rng.integers(1, VOCAB_SIZE, (n_batches, BATCH_SIZE, length)).astype(np.int32)
    ends = rng.integers(max(length - MAX_PADDING, 1), length + 1, (n_batches, BATCH_SIZE, 1))
    return np.where(np.arange(length) < ends, ids, 0).astype(np.int32), rng.integers(
        0, 2, (n_batches, BATCH_SIZE)
    )


def fit_seconds(batches: Batches, *, units: int, embedding_dim: int, fused: bool) -> float:
    import keras
    import tensorflow as tf

    from tuning.kernels.fuse import fused as with_kernels
    from tuning.models import lstm_classifier
    from tuning.training.loops import trace_steps

    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = lstm_classifier(
        vocab_size=VOCAB_SIZE,
        embedding_dim=embedding_dim,
        lstm_units=units,
        recurrent_dropout=0.0,
        masked=True,
    )
    data = tf.data.Dataset.from_tensor_slices(batches).prefetch(2)
    marks: list[float] = []

    def mark(*_: Any) -> None:
        marks.append(time.perf_counter())

    clock = keras.callbacks.LambdaCallback(on_epoch_begin=mark, on_epoch_end=mark)
    with with_kernels(model) if fused else contextlib.nullcontext():
        if fused:
            trace_steps(model, data.element_spec, batch=(batches[0][0], batches[1][0]))
        model.fit(data, epochs=2, verbose=0, callbacks=[clock])
    return (marks[-1] - marks[-2]) / len(batches[0])


def floor_seconds(*, length: int, units: int, features: int, n_steps: int) -> float:
    """Return the seconds of the matrix products of one step, by NumPy's sgemm and nothing else.

    The products that do not depend on the previous time step are large products outside the time
    loop: the products of the inputs, of their gradient, and of both weight gradients. Inside the
    loop are the product of the state and the product of its gradient. All results are written to
    memory that is allocated before.
    """
    rng, gates = np.random.default_rng(0), 4 * units
    x, kernel, recurrent, states, d_gates = (
        rng.standard_normal(shape, np.float32)
        for shape in (
            *((length * BATCH_SIZE, features), (features, gates), (units, gates)),
            *((length, BATCH_SIZE, units), (length, BATCH_SIZE, gates)),
        )
    )
    products, d_x = np.empty_like(d_gates), np.empty_like(x)
    d_state = np.empty((BATCH_SIZE, units), np.float32)
    d_kernel, d_recurrent = np.empty_like(kernel), np.empty_like(recurrent)
    flat_states, flat_gates, flat_products = (
        array.reshape(length * BATCH_SIZE, -1) for array in (states, d_gates, products)
    )

    def step() -> None:
        np.matmul(x, kernel, out=flat_products)
        for t in range(length):
            np.matmul(states[t], recurrent, out=products[t])
        for t in reversed(range(length)):
            np.matmul(d_gates[t], recurrent.T, out=d_state)
        np.matmul(flat_gates, kernel.T, out=d_x)
        np.matmul(x.T, flat_gates, out=d_kernel)
        np.matmul(flat_states.T, flat_gates, out=d_recurrent)

    step()
    started = time.perf_counter()
    for _ in range(n_steps):
        step()
    return (time.perf_counter() - started) / n_steps


def summary_of(turns: dict[str, list[float]]) -> dict[str, Any]:
    """The ratios are medians of the ratios within a turn: Keras over this program, and this program
    over the floor.
    """

    # The host may throttle the machine between two turns.
    def ratio(name: str, other: str) -> float:
        ratios = (a / b for a, b in zip(turns[name], turns[other], strict=True))
        return round(statistics.median(ratios), 4)

    return {
        "turns_ms": turns,
        "median_ms": {name: statistics.median(times) for name, times in turns.items()},
        "ratio_floor": ratio("ours", "floor"),
        "ratio_keras": ratio("keras", "ours"),
    }


def worst_ratios(cases: list[dict[str, Any]]) -> dict[str, float]:
    return {
        "ratio_keras_lstm": min(case["ratio_keras"] for case in cases if case["units"] < 64),
        "ratio_floor": max(case["ratio_floor"] for case in cases if case["units"] >= 64),
    }
