"""The parts of a batch: which texts each step computes, and that each text is in one part."""

import numpy as np

from tuning.kernels.parts import MAX_PARTS, parts_of_batch, texts_of_steps


def test_step_computes_only_the_texts_that_have_not_ended() -> None:
    lengths = np.array([2] * 20 + [9] * 20 + [5] * 20)
    order, counts = texts_of_steps(np.arange(9) < lengths[:, None], 60, 9)
    assert order.tolist() == [*range(20, 60), *range(20)]
    assert counts.tolist() == [60, 60, 40, 40, 40, 20, 20, 20, 20]
    assert texts_of_steps(np.zeros((0, 0), np.bool_), 60, 3)[1].tolist() == [60] * 3
    assert texts_of_steps(np.zeros((60, 2), np.bool_), 60, 2)[1].tolist() == [0] * 2


def test_parts_have_all_texts_and_rows_once() -> None:
    rng = np.random.default_rng(2)
    mask = np.arange(5) < rng.integers(0, 6, 150)[:, None]
    order, counts = texts_of_steps(mask, 150, 5)
    rows = np.arange(counts.sum(), dtype=np.float32)
    parts = parts_of_batch((order, counts), (rows, rows, rows))
    assert len(parts) == MAX_PARTS == 2
    assert sorted(np.concatenate([part.order for part in parts])) == [*range(150)]
    assert np.array_equal(sum(part.counts for part in parts), counts)
    assert np.array_equal(np.concatenate([part.rows[0] for part in parts]), rows)
