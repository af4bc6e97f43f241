"""The fidelity of a training: the numbers of epochs after which it is evaluated. On a large data
set the first evaluations are within the first epoch.

An epoch of n texts is divided into `parts_per_epoch` equal parts, a power of two. A training is
evaluated after 1, 2, 4, … parts of its first epoch, after each whole epoch, and at its end. Numbers
of epochs are therefore fractions whose denominator is a power of two, which a float represents
exactly.
"""

import numpy as np
import numpy.typing as npt

# Minimum number of validation texts of an evaluation: the standard error of an accuracy of 0.9 is
# then 0.003. Every trial is evaluated on the same texts, which makes the error of differences
# smaller.
MIN_EVALUATED = 8_192


def parts_per_epoch(n_texts: int, *, min_texts: int) -> int:
    """Return the largest power of two that leaves `min_texts` of `n_texts` texts or more in each
    part of an epoch, at least 1.
    """
    return 1 << max((n_texts // min_texts).bit_length() - 1, 0)


def is_evaluated(part: int, parts: int) -> bool:
    return part % parts == 0 or (part < parts and part.bit_count() == 1)


def epochs_at(part: int, parts: int) -> float:
    """Return the number of epochs in `part` parts of an epoch; an int if it is whole."""
    return part / parts if part % parts else part // parts


def part_at(epochs: float, parts: int) -> int:
    """Return the number of parts in a number of epochs. It is the step of Optuna's intermediate
    values, which must be an integer.
    """
    return round(epochs * parts)


def part_of(
    batches: list[npt.NDArray[np.int64]], part: int, *, parts: int
) -> list[npt.NDArray[np.int64]]:
    """Return the batches of one part of an epoch, counted from 0. All parts have the same number of
    batches, for which some batches are cut in halves. The epoch has `parts` texts or more.
    """
    n_missing = -len(batches) % parts
    divisible = [number for number, batch in enumerate(batches) if len(batch) > 1]
    if n_missing > len(divisible):  # The batches are few, or have single texts.
        rows = np.concatenate(batches)
        n_batches = min(len(batches) + n_missing, len(rows) // parts * parts)
        batches = np.array_split(rows, n_batches)
    elif n_missing:
        places = np.linspace(0, len(divisible) - 1, n_missing, dtype=int)
        halved = {divisible[place] for place in places}
        batches = [
            half
            for number, batch in enumerate(batches)
            for half in np.array_split(batch, 1 + (number in halved))
        ]
    size = len(batches) // parts
    return batches[part * size : (part + 1) * size]


def evaluation_rows(epochs: float, n_texts: int) -> npt.NDArray[np.int64] | None:
    """Return the rows of the validation split that a training is evaluated on after a number of
    epochs; None for all of them.

    Within the first epoch these are the same share of the split, and `MIN_EVALUATED` texts or more.
    """
    # An evaluation of the whole split would take longer than the training before it.
    n_rows = max(round(epochs * n_texts), MIN_EVALUATED)
    if epochs >= 1 or n_rows >= n_texts:
        return None
    # The seed is fixed, so all trials are evaluated on the same texts.
    return np.sort(np.random.default_rng(0).permutation(n_texts)[:n_rows])
