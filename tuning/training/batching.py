"""One trial's view of a corpus, in batches.

The texts of a training batch are drawn at random. If the model masks the padding, each batch is
padded to its own longest text and sorted with the longest text first, and the padding is not
computed (`kernels.recurrent_numba`, `padding.packing`). Batches of texts of similar length would
contain little padding, but they lower the accuracy: by 0.0025 ± 0.0011, 0.0088 ± 0.0029 and
-0.0009 ± 0.0013 for a `sequence_length` of 200, 160 and 100 (mean and standard error of six seeds,
the best of three epochs, Amazon reviews). Other models get batches of `sequence_length` columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tuning.inputs.contract import InputView, Rows
from tuning.inputs.encoder_tokens import ENCODER_BATCH_SIZE

EVALUATION_BATCH_SIZE = 512

# Number of batches whose texts are drawn together and then put into batches by length.
GROUP_BATCHES = 32

_T = TypeVar("_T")
Batch = npt.NDArray[Any] | dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class View:
    """Texts as a model takes them: a view of the texts for each of its inputs, by name.

    A model with one input gets arrays, a model with several inputs gets dictionaries of arrays.
    """

    inputs: Mapping[str, InputView]

    def __len__(self) -> int:
        return len(self._first.texts)

    @property
    def _first(self) -> InputView:
        # Keras orders the inputs of a dictionary by name, "ngrams" before "tokens".
        return max(self.inputs.values(), key=lambda view: view.is_encoder)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of a preset, or of ids in the first input, int64 (n_texts,)."""
        return self._first.lengths

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        return self._first.lengths_of(rows)

    @property
    def pads_to_longest(self) -> bool:
        """Whether the width of a batch depends on its texts."""
        return any(None in view.shape for view in self.inputs.values())

    @property
    def sorts(self) -> bool:
        """Whether training batches are sorted with the longest text first, for the kernel."""
        first = self._first
        return first.has_padding and not first.is_encoder and None in first.shape

    @property
    def is_grouped(self) -> bool:
        """Whether training batches have similar lengths: an encoder computes the padding too."""
        return self._first.is_encoder

    @property
    def evaluation_batch_size(self) -> int:
        return ENCODER_BATCH_SIZE if self.is_grouped else EVALUATION_BATCH_SIZE

    def batch(self, rows: Rows) -> Batch:
        """Return the model's input for these rows: int32 arrays (n_rows, width), or texts."""
        return as_input({name: view.batch(rows) for name, view in self.inputs.items()})

    def array(self) -> Batch:
        return self.batch(np.arange(len(self)))

    @property
    def array_bytes(self) -> int:
        """The size of `array()`, whose rows are all as wide as the longest row."""
        rows = np.arange(len(self))
        return sum(view.n_bytes(rows) for view in self.inputs.values())


def as_input(parts: dict[str, _T]) -> dict[str, _T] | _T:
    return parts if len(parts) > 1 else next(iter(parts.values()))


def training_batches(view: View, *, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """Return the rows of each batch of one epoch.

    Every row occurs once, in an order that is drawn from `seed` and `epoch`. If the view sorts, the
    rows of a batch are in order of length, with the longest text first. If the view is grouped, the
    texts of a batch have similar lengths: groups of `GROUP_BATCHES` batches are sorted by length
    before they are cut into batches, which are in random order.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more; received {batch_size}.")
    # Each epoch has a seed of its own, so a resumed training draws the batches that a training
    # without a pause would draw.
    draw = np.random.default_rng([seed, epoch])
    rows = draw.permutation(len(view))
    if view.is_grouped:
        batches = [
            batch
            for group in cut(rows, GROUP_BATCHES * batch_size)
            for batch in cut(_by_length(group, view.lengths_of(group)), batch_size)
        ]
        return [batches[number] for number in draw.permutation(len(batches))]
    batches = cut(rows, batch_size)
    if view.sorts:
        return [_by_length(batch, -view.lengths_of(batch)) for batch in batches]
    return batches


def evaluation_batches(view: View, rows: Rows | None = None) -> list[Rows]:
    """Return batches of these rows for an evaluation, by default of every row, in order of length
    if the view pads to the longest text, and in the given order otherwise.
    """
    rows = np.arange(len(view)) if rows is None else rows
    if view.pads_to_longest:
        rows = _by_length(rows, view.lengths_of(rows))
    return cut(rows, view.evaluation_batch_size)


def in_order(view: View) -> list[Rows]:
    return cut(np.arange(len(view)), view.evaluation_batch_size)


def _by_length(rows: Rows, lengths: npt.NDArray[np.int64]) -> Rows:
    return rows[np.argsort(lengths, kind="stable")]


def cut(rows: Rows, size: int) -> list[Rows]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
