"""The view of a trial whose model takes the texts themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tuning.data.splits import SplitTexts
from tuning.inputs.corpus import TokenizedTexts

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TextView:
    """Texts as input of a model that tokenizes them itself. A batch has the shape (n_rows, 1) if
    `is_column`, otherwise (n_rows,).
    """

    texts: TokenizedTexts
    raw: SplitTexts
    is_column: bool
    # Every batch has one text in a row, so the batches are neither trimmed nor sorted.
    fixed_width: int | None = field(init=False, default=1)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of words of each text, int64 (n_texts,)."""
        return self.texts.lengths

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        return self.lengths[rows]

    def width(self, rows: Rows) -> int:
        return 1

    @property
    def n_bytes(self) -> int:
        """The size of all texts as Python's strings."""
        return len(self.raw.data) + 64 * len(self.raw)

    def batch(self, rows: Rows) -> npt.NDArray[np.object_]:
        texts = self.raw.take(rows)
        return texts[:, None] if self.is_column else texts
