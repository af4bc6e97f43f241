"""The parts of an epoch: their number, their batches and the evaluations."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tuning.fidelity import (
    MIN_EVALUATED,
    epochs_at,
    evaluation_rows,
    is_evaluated,
    part_at,
    part_of,
    parts_per_epoch,
)

POWERS = st.sampled_from([1, 2, 4, 32])


@given(st.integers(1, 10**7), st.integers(1, 10**5))
def test_parts_are_the_largest_power_of_two_that_fits(n_texts: int, min_texts: int) -> None:
    parts = parts_per_epoch(n_texts, min_texts=min_texts)
    assert parts.bit_count() == 1
    assert parts == 1 or n_texts / parts >= min_texts
    assert n_texts / (2 * parts) < min_texts


def test_evaluations_are_at_doubling_parts_and_then_at_whole_epochs() -> None:
    parts = [part for part in range(1, 33) if is_evaluated(part, 8)]
    assert parts == [1, 2, 4, 8, 16, 24, 32]
    assert [epochs_at(part, 8) for part in parts] == [0.125, 0.25, 0.5, 1, 2, 3, 4]
    assert all(is_evaluated(part, 1) for part in range(1, 9))


@given(st.integers(1, 10_000), POWERS)
def test_epochs_and_parts_are_inverse(part: int, parts: int) -> None:
    epochs = epochs_at(part, parts)
    assert part_at(epochs, parts) == part
    assert isinstance(epochs, int) == (part % parts == 0)


@given(st.integers(33, 900), st.integers(1, 100), POWERS)
def test_parts_of_an_epoch_have_every_row_once_in_its_order(
    n_rows: int, batch_size: int, parts: int
) -> None:
    rows = np.random.default_rng(n_rows).permutation(n_rows)
    whole = [rows[start : start + batch_size] for start in range(0, n_rows, batch_size)]
    divided = [part_of(whole, part, parts=parts) for part in range(parts)]
    assert len({len(part) for part in divided}) == 1
    batches = [batch for part in divided for batch in part]
    assert np.concatenate(batches).tolist() == rows.tolist()
    assert len(batches) == min(-(-len(whole) // parts) * parts, n_rows // parts * parts)
    assert min(map(len, batches)) >= 1
    assert max(map(len, batches)) <= max(batch_size, -(-n_rows // len(batches)))


def test_whole_epochs_have_the_same_batches_as_without_parts() -> None:
    whole = [np.arange(5), np.arange(5, 7)]
    assert [batch.tolist() for batch in part_of(whole, 0, parts=1)] == [[0, 1, 2, 3, 4], [5, 6]]


def test_a_part_is_evaluated_on_its_share_of_the_validation_split() -> None:
    rows = evaluation_rows(0.25, 100_000)
    assert rows is not None
    assert len(rows) == 25_000
    assert len(np.unique(rows)) == len(rows)
    assert evaluation_rows(1, 100_000) is None
    smallest = evaluation_rows(1 / 32, 100_000)
    assert smallest is not None
    assert len(smallest) == MIN_EVALUATED
    assert evaluation_rows(1 / 32, MIN_EVALUATED) is None
