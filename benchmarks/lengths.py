"""Training with the lengths of the data's own texts: the speed of the kernel of LSTM and GRU layers
and of the whole training step, beside sgemm.

Speeds are in useful GFLOP/s: billions of floating-point operations, without those on padding, for
each CPU second of one thread. A token of a text needs 8 · units · (features + units) operations
forward in an LSTM, 6 · units · (features + units) in a GRU, and twice as many backward; the gates'
activations are not counted. sgemm computes the three products of an LSTM for one time step of a
full batch.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.configurations import BATCH_SIZE
from benchmarks.one_thread import epochs_of_fit, use_one_thread
from benchmarks.settings import Settings
from benchmarks.sides import Sides
from tuning.data.corpus import LabeledTexts, TokenizedTexts, build_corpus
from tuning.data.splits import SplitReviews

# Embedding size for each number of units, and the sequence lengths of the measurements.
EMBEDDING_DIMS = {8: 8, 16: 16, 32: 20, 64: 16, 128: 64}
LENGTHS = (40, 100, 200, 400)
VOCAB_SIZE = 20_000
# The configurations whose whole training step is measured: `_ROWS` of `configurations` as
# vocabulary, sequence length, embedding size and units.
TRAINED = ((30_000, 200, 64, 128), (10_000, 160, 16, 64), (20_000, 100, 20, 32))


def measure(settings: Settings, splits: SplitReviews, sides: Sides) -> list[dict[str, Any]]:
    """Return the speeds of every configuration, on the training split."""
    cases = [
        (VOCAB_SIZE, length, dim, units)
        for units, dim in EMBEDDING_DIMS.items()
        for length in LENGTHS
    ]
    n_batches, n_turns = settings.size((16, 5), tiny=(2, 1))
    with tempfile.TemporaryDirectory() as folder:
        corpus = build_corpus(Path(folder) / "corpus", splits)
        train = first_rows(corpus.split("train"), n_batches * BATCH_SIZE)
    measured: list[dict[str, Any]] = sides.measure(
        "real lengths",
        time_cases,
        train=train,
        cases=settings.size([*cases, *TRAINED], tiny=[(1_000, 20, 8, 8), (1_000, 20, 16, 64)]),
        n_turns=n_turns,
    )
    for case in measured:
        sides.show(line_of(case))
    return measured


def time_cases(
    *, train: LabeledTexts, cases: list[tuple[int, int, int, int]], n_turns: int
) -> list[dict[str, Any]]:
    """Return the speeds of every configuration."""
    use_one_thread()
    names = ("vocab_size", "length", "embedding_dim", "units")
    sizes = [dict(zip(names, case, strict=True)) for case in cases]
    return [
        {**of_case, **time_case(train=train, **of_case, n_turns=n_turns, trains=case in TRAINED)}
        for of_case, case in zip(sizes, cases, strict=True)
    ]


def line_of(case: dict[str, Any]) -> str:
    """Return a case as a line of the terminal."""
    training = (
        f", training step {case['training_step']:.1f} ({case['page_faults']:.0f} page faults)"
        if "training_step" in case
        else ""
    )
    return (
        f"  length {case['length']}, units {case['units']}, embedding {case['embedding_dim']}:"
        f" forward {case['forward']:.1f} of {case['sgemm_forward']:.1f} GFLOP/s, forward and"
        f" backward {case['both']:.1f} of {case['sgemm']:.1f}, as a GRU"
        f" {case['gru_forward']:.1f} and {case['gru']:.1f}{training}"
    )


def first_rows(split: LabeledTexts, n: int) -> LabeledTexts:
    """Return the first n texts of a split, in memory."""
    offsets = np.array(split.texts.offsets[: n + 1])
    texts = TokenizedTexts(np.array(split.texts.ids[: offsets[-1]]), offsets)
    return LabeledTexts(texts, split.labels[:n])


def time_case(
    *,
    train: LabeledTexts,
    vocab_size: int,
    length: int,
    embedding_dim: int,
    units: int,
    n_turns: int,
    trains: bool,
) -> dict[str, float]:
    """Return the speeds of a configuration, each the best of `n_turns`, and the page faults of a
    step.
    """
    from tuning.training.batching import View, WordView, training_batches
    from tuning.training.prediction import dataset

    words = WordView(train.texts, vocab_size=vocab_size, sequence_length=length, trims=True)
    view = View({"ids": words})
    batches = training_batches(view, batch_size=BATCH_SIZE, seed=0, epoch=1)
    masks = [words.batch(rows) != 0 for rows in batches]
    forward, both = kernel_sides(masks, features=embedding_dim, units=units)
    gru_forward, gru = kernel_sides(masks, features=embedding_dim, units=units, is_gru=True)
    sides = {"forward": forward, "both": both, "gru_forward": gru_forward, "gru": gru}
    sides |= sgemm_sides(features=embedding_dim, units=units)
    # Number of operations of the forward pass for a token of a text.
    flops = 8 * units * (embedding_dim + units)
    passes, products = flops * float(view.lengths.sum()), flops * BATCH_SIZE
    operations = {"forward": passes, "gru_forward": 0.75 * passes, "sgemm_forward": products}
    operations |= {"both": 3 * passes, "gru": 0.75 * 3 * passes, "sgemm": 3 * products}
    seconds = least_cpu_seconds(sides, n_turns=n_turns)
    speeds = {name: operations[name] / seconds[name] / 1e9 for name in sides}
    if trains:
        epochs = epochs_of_fit(
            dataset(lambda: iter(batches), view, train.labels, n_batches=len(batches)),
            vocab_size=vocab_size,
            embedding_dim=embedding_dim,
            units=units,
            n_epochs=n_turns + 1,
        )
        step = min(epoch.cpu_seconds for epoch in epochs)
        speeds["training_step"] = operations["both"] / step / 1e9
        speeds["page_faults"] = min(epoch.page_faults for epoch in epochs) / len(batches)
    return {name: round(value, 1) for name, value in speeds.items()}


def least_cpu_seconds(sides: Mapping[str, Callable[[], None]], *, n_turns: int) -> dict[str, float]:
    """Return the least CPU seconds of a call of each side over `n_turns`."""
    seconds = dict.fromkeys(sides, float("inf"))
    for _ in range(n_turns + 1):  # The first turn compiles the kernel or loads its code.
        for name, run in sides.items():
            seconds[name] = min(seconds[name], cpu_seconds_of(run))
    return seconds


def cpu_seconds_of(run: Callable[[], None], *, at_least: float = 0.1) -> float:
    """Return the CPU seconds of a call, as the mean of enough calls to take `at_least` seconds."""
    n_calls, started = 0, time.process_time()
    while (seconds := time.process_time() - started) < at_least:
        run()
        n_calls += 1
    return seconds / n_calls


def kernel_sides(
    masks: list[np.ndarray[Any, np.dtype[np.bool_]]],
    *,
    features: int,
    units: int,
    is_gru: bool = False,
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return the kernel over batches with these masks: forward without a gradient, and both
    passes.
    """
    from tuning.kernels import recurrent_sequence as kernel
    from tuning.kernels.compiling import Memory

    rng, memory = np.random.default_rng(0), Memory()
    width = max(mask.shape[1] for mask in masks)
    x = rng.standard_normal((BATCH_SIZE, width, features), np.float32)
    weights = rng.standard_normal((features + 1 + units, 4 * units), np.float32) / np.float32(8)
    state, none = np.zeros((BATCH_SIZE, units), np.float32), np.zeros((0, 0, 0), np.float32)
    c = state[:, : 0 if is_gru else units]
    calls = [
        kernel.Arguments(
            np.ascontiguousarray(x[:n, :length]), weights, state[:n], c[:n], mask, none
        )
        for n, length, mask in ((*mask.shape, mask) for mask in masks)
    ]
    shapes = (kernel.reserve_shapes(n, features, units, BATCH_SIZE) for n in (1, width))
    of_one_token, of_all_tokens = (
        kernel.Reserve(*(np.empty(shape, np.float32) for shape in of_reserve))
        for of_reserve in shapes
    )

    def run_forward() -> None:
        for call in calls:
            kernel.forward(call, of_one_token, return_sequences=False, memory=memory)

    def run_both() -> None:
        for call in calls:
            outputs = kernel.forward(call, of_all_tokens, return_sequences=False, memory=memory)
            kernel.backward(outputs, call, of_all_tokens, memory=memory)

    return run_forward, run_both


def sgemm_sides(*, features: int, units: int) -> dict[str, Callable[[], None]]:
    """Return NumPy's sgemm for one time step of a full batch: forward, and all three products."""
    rng, width, gates = np.random.default_rng(0), features + units, 4 * units
    inputs, matrix, d_gates = (
        rng.standard_normal(shape, np.float32)
        for shape in ((BATCH_SIZE, width), (width, gates), (BATCH_SIZE, gates))
    )
    products, d_inputs, d_matrix = (
        np.empty_like(d_gates),
        np.empty_like(inputs),
        np.empty_like(matrix),
    )

    def forward() -> None:
        np.dot(inputs, matrix, out=products)

    def both() -> None:
        np.dot(inputs, matrix, out=products)
        np.dot(d_gates, matrix.T, out=d_inputs)
        np.dot(inputs.T, d_gates, out=d_matrix)

    return {"sgemm_forward": forward, "sgemm": both}
