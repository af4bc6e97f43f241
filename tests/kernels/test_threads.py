"""The parts of a batch: which texts each step computes, that each text is in one part, and that the
results equal those of the whole batch with any threads.
"""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.layers import arguments_of, reserve_of
from tuning.kernels.compiling import Array
from tuning.kernels.recurrent_sequence import (
    MAX_PARTS,
    Arguments,
    Reserve,
    backward,
    forward,
    parts_of_batch,
    texts_of_steps,
)
from tuning.kernels.threads import run_parts, set_threads

Results = tuple[Array, ...]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    yield
    set_threads(1)


def run(arguments: Arguments) -> tuple[Results, Results]:
    """Return the outputs and the gradients, each output with a gradient of its own value."""
    reserve = reserve_of(arguments, arguments.x.shape[1])
    outputs = forward(arguments, reserve, return_sequences=True)
    gradients = backward(tuple(np.array(output) for output in outputs), arguments, reserve)
    return outputs, gradients


def rows_of(arguments: Arguments, rows: slice) -> Arguments:
    x, weights, h, c, mask, dropout = arguments
    mask, dropout = (mask[rows] if len(mask) else mask), dropout[:, rows]
    return Arguments(x[rows], weights, h[rows], c[rows], mask, np.ascontiguousarray(dropout))


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    batch=st.sampled_from([1, 63, 64, 97, 128, 131, 200]),
    dropouts=st.sampled_from([0, 1, 4]),
    masked=st.booleans(),
    is_gru=st.booleans(),
)
def test_batch_is_its_texts(
    seed: int, batch: int, dropouts: int, masked: bool, is_gru: bool
) -> None:
    """Groups of 31 texts have one part each."""
    arguments = arguments_of(seed, batch=batch, dropouts=dropouts, masked=masked, is_gru=is_gru)
    outputs, gradients = run(arguments)
    groups = [run(rows_of(arguments, slice(i, i + 31))) for i in range(0, batch, 31)]
    for k, output in enumerate(outputs):
        expected = np.concatenate([group[0][k] for group in groups])
        np.testing.assert_allclose(output, expected, atol=1e-6)
    for k, gradient in enumerate(gradients):
        parts = [group[1][k] for group in groups]
        expected = np.sum(parts, axis=0) if k == 1 else np.concatenate(parts)
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dropouts", [0, 1, 4])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("is_gru", [False, True])
def test_results_are_equal_on_any_number_of_threads(
    dropouts: int, masked: bool, is_gru: bool
) -> None:
    arguments = arguments_of(0, batch=150, dropouts=dropouts, masked=masked, is_gru=is_gru)
    expected = run(arguments)
    for n_threads in (2, 3, 8):
        set_threads(n_threads)
        for arrays, same_arrays in zip(run(arguments), expected, strict=True):
            for array, same in zip(arrays, same_arrays, strict=True):
                assert np.array_equal(array, same)


def test_forward_pass_without_a_gradient_is_equal_on_threads() -> None:
    """Its reserve has room for one step."""
    arguments = arguments_of(1, batch=150)
    set_threads(3)
    outputs = forward(arguments, reserve_of(arguments, 1), return_sequences=True)
    for array, same in zip(outputs, run(arguments)[0], strict=True):
        assert np.array_equal(array, same)


def test_error_is_raised_when_no_part_runs_any_more() -> None:
    ended = []

    def fails() -> None:
        raise MemoryError("no memory")

    def takes_longer() -> None:
        time.sleep(0.2)
        ended.append(True)

    set_threads(2)
    with pytest.raises(MemoryError):
        run_parts([fails, takes_longer])
    assert ended
    set_threads(1)
    with pytest.raises(MemoryError):
        run_parts([fails])


def test_step_computes_only_the_texts_that_have_not_ended() -> None:
    lengths = np.array([2] * 20 + [9] * 20 + [5] * 20)
    order, counts = texts_of_steps(np.arange(9) < lengths[:, None], 60, 9)
    assert order.tolist() == [*range(20, 60), *range(20)]
    assert counts.tolist() == [60, 60, 40, 40, 40, 20, 20, 20, 20]
    assert texts_of_steps(np.zeros((0, 0), np.bool_), 60, 3)[1].tolist() == [60] * 3
    assert texts_of_steps(np.zeros((60, 2), np.bool_), 60, 2)[1].tolist() == [0] * 2


def test_large_batch_has_a_part_for_each_of_two_threads() -> None:
    texts = texts_of_steps(np.ones((150, 5), np.bool_), 150, 5)
    rows = np.zeros(150 * 5, np.float32)
    assert len(parts_of_batch(texts, Reserve(rows, rows, rows))) == MAX_PARTS == 2
