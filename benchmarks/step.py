"""The time of a training step on one thread: this program against Keras' LSTM in `fit`, PyTorch's
LSTM, and the sgemm floor. Each size of model is measured between two calibrations of the machine
(`benchmarks.sides`).

All sides run in one process on one thread, with batches of 128, a vocabulary of 20,000, masked
padding of up to 8 tokens, a dropout of 0.2, and Adam. The sides take turns, and a ratio is the
median of the ratios within a turn. On both Keras sides `fit` takes the same `tf.data` dataset of
finished batches; on this program's side one call into TensorFlow trains several batches, as in a
trial. The second epoch is timed, because the first one traces.
"""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import lengths
from benchmarks.configurations import BATCH_SIZE
from benchmarks.floor import floor_flops, floor_seconds
from benchmarks.goals import figures
from benchmarks.processes import in_fresh_process
from benchmarks.settings import Settings
from benchmarks.sides import sides_of
from tuning.data.splits import SplitReviews

VOCAB_SIZE, MAX_PADDING = 20_000, 8
# Sequence length, units and embedding size. Goals compare `KERAS_CASES` with Keras' LSTM,
# `FLOOR_CASES` with the floor, and all cases with PyTorch.
KERAS_CASES = [(100, 16, 16), (100, 32, 20), (200, 16, 16), (200, 32, 32)]
FLOOR_CASES = [(200, 64, 64), (200, 128, 64)]

Batches = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]


def measure(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> dict[str, Any]:
    """Return the milliseconds of every side in each turn and the worst ratio of each goal, on
    random token ids; and the speeds with the lengths of the data's texts (`lengths`).
    """
    with_pytorch = importlib.util.find_spec("torch") is not None
    if not with_pytorch:
        show("PyTorch is not installed, its side is skipped: .venv/bin/pip install 'torch>=2.6,<3'")
    cases, sides = [], sides_of(settings, show=show)
    for length, units, embedding_dim in settings.size(
        KERAS_CASES + FLOOR_CASES, tiny=[(20, 16, 16), (20, 64, 64)]
    ):
        name = f"length {length}, units {units}, embedding {embedding_dim}"
        show(name)
        sizes = {"length": length, "units": units, "embedding_dim": embedding_dim}
        run = partial(
            in_fresh_process,
            time_case,
            log_path=settings.log_path,
            **sizes,
            n_batches=settings.size(32, tiny=3),
            n_turns=settings.size(5, tiny=1),
            with_pytorch=with_pytorch,
        )
        case = {**sizes, **summary_of(sides.measure(name, run))}
        cases.append({**case, "floor_gigaflops": gigaflops(case)})
    return {
        **figures(
            worst_ratios(cases),
            notes=None if with_pytorch else {"ratio_pytorch": "PyTorch is not installed"},
        ),
        "cases": cases,
        "lengths": sides.measure(
            "real lengths", partial(lengths.measure, settings, splits, show=show)
        ),
        "noise": sides.record(),
    }


def time_case(
    *, length: int, units: int, embedding_dim: int, n_batches: int, n_turns: int, with_pytorch: bool
) -> dict[str, list[float]]:
    """Return the milliseconds per step of every side, one value for each turn."""
    lengths.use_one_thread()
    ids, labels = random_batches(n_batches, length=length)
    sizes = {"embedding_dim": embedding_dim, "units": units}
    sides: dict[str, Callable[[], float]] = {
        "keras": lambda: fit_seconds((ids, labels), **sizes, fused=False),
        "ours": lambda: fit_seconds((ids, labels), **sizes, fused=True),
        "floor": lambda: floor_seconds(
            batch=BATCH_SIZE, length=length, units=units, features=embedding_dim, n_steps=n_batches
        ),
    }
    if with_pytorch:
        from benchmarks.peers import pytorch_peer

        sides["pytorch"] = lambda: pytorch_peer.step_seconds(
            ids, labels, vocab_size=VOCAB_SIZE, **sizes
        )
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
    """Return the seconds per step of `fit`; `fused` uses this program's kernels."""
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
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: marks.append(time.perf_counter()),
        on_epoch_end=lambda epoch, logs: marks.append(time.perf_counter()),
    )
    with with_kernels(model) if fused else contextlib.nullcontext():
        if fused:
            batch = batches[0][0], batches[1][0]
            trace_steps(model, data.element_spec, batch=batch)
        model.fit(data, epochs=2, verbose=0, callbacks=[clock])
    return (marks[-1] - marks[-2]) / len(batches[0])


def summary_of(turns: dict[str, list[float]]) -> dict[str, Any]:
    """Return the median times, and the medians of the ratios within a turn: each peer over this
    program, and this program over the floor.
    """
    ours = turns["ours"]
    over = {
        name: statistics.median(a / b for a, b in zip(times, ours, strict=True))
        for name, times in turns.items()
    }
    ratios = {
        f"ratio_{name}": round(ratio, 4)
        for name, ratio in over.items()
        if name not in ("ours", "floor")
    }
    ratios["ratio_floor"] = round(
        statistics.median(b / a for a, b in zip(turns["floor"], ours, strict=True)), 4
    )
    return {
        "turns_ms": turns,
        "median_ms": {name: statistics.median(times) for name, times in turns.items()},
        **ratios,
    }


def worst_ratios(cases: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return the worst ratio of each goal: against Keras over the cases of 16 and 32 units, against
    the floor over the cases of 64 and 128 units, and against PyTorch over all cases.
    """
    small, large = (
        [case for case in cases if (case["units"] < 64) is is_small] for is_small in (True, False)
    )
    return {
        "ratio_keras_lstm": min(case["ratio_keras"] for case in small),
        "ratio_floor": max(case["ratio_floor"] for case in large),
        "ratio_pytorch": min(
            (case["ratio_pytorch"] for case in cases if "ratio_pytorch" in case), default=None
        ),
    }


def gigaflops(case: dict[str, Any]) -> float:
    """Return the billions of floating-point operations per second of the floor: the speed of the
    machine during the measurement.
    """
    flops = floor_flops(
        batch=BATCH_SIZE, length=case["length"], units=case["units"], features=case["embedding_dim"]
    )
    return round(float(flops / case["median_ms"]["floor"] / 1e6), 1)
