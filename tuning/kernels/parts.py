"""The parts of a batch, which a kernel computes on one thread or on several threads.

A batch is always cut into the same parts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tuning.kernels.compiling import Array, compiled

# A batch of `2 * PART_ROWS` texts or more has `MAX_PARTS` parts, each of which can have its own
# thread. Measured with 128 texts of up to 200 tokens and 128 units, against a step without parts:
# a step on one thread takes 2 % longer with two parts, and 5 % longer with four parts. A step with
# two parts on two threads takes half the time.
PART_ROWS, MAX_PARTS = 32, 2


@compiled
def texts_of_steps(mask: Any, batch: int, length: int) -> Any:
    """Return the order in which the kernel takes the texts, int64 (batch,), and the number of texts
    that each step computes, int64 (length,), from the mask (batch, length).

    The longest text comes first, so that the steps skip the padding of shorter texts.
    """
    if len(mask) == 0:
        return np.arange(batch), np.full(length, batch)
    lengths = np.zeros(batch, np.int64)
    for text in range(batch):
        for t in range(length):
            lengths[text] += mask[text, t]
    order, counts = np.argsort(-lengths, kind="mergesort"), np.zeros(length, np.int64)
    for k, text in enumerate(order):
        for t in range(length):
            if mask[text, t]:
                counts[t] = k + 1
    return order, counts


class Part(NamedTuple):
    """A part of a batch: its texts and the number of texts in each step, as `texts_of_steps`
    returns them, and its rows of the reserve.
    """

    order: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    rows: tuple[Array, Array, Array]


def parts_of_batch(
    texts: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], rows: tuple[Array, Array, Array]
) -> list[Part]:
    """Cut a batch into parts with about the same number of texts of each length.

    Args:
        texts: the result of `texts_of_steps`.
        rows: the rows of the batch's reserve.
    """
    order, counts = texts
    n_parts = max(min(len(order) // PART_ROWS, MAX_PARTS), 1)
    keeps, parts, start = len(rows[0]) >= counts.sum(), [], 0
    for k in range(n_parts):
        of_part = np.ascontiguousarray(order[k::n_parts])
        counts_of_part = (counts + (n_parts - 1 - k)) // n_parts
        end = start + (counts_of_part.sum() if keeps else len(of_part))
        own = (rows[0][start:end], rows[1][start:end], rows[2][start:end])
        parts.append(Part(of_part, counts_of_part, own))
        start = end
    return parts
