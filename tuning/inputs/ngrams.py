"""N-grams: the distinct n-grams of a text, limited to a trial's vocabulary and number of words."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tuning.inputs.contract import (
    IdTexts,
    Input,
    InputView,
    ModelInput,
    Preparation,
    Rows,
    Shape,
    Stored,
    TokenizedTexts,
    Values,
    words_of,
)
from tuning.inputs.tokenizer import FIRST_WORD_ID, UNKNOWN_ID, make_ngram_encoder

if TYPE_CHECKING:
    from tuning.inputs.corpus import Corpus
    from tuning.spaces.loading import SearchSpace


@dataclass(frozen=True)
class NgramTexts(IdTexts):
    """The distinct n-grams of n texts; the ids of a text are ascending. `orders` is uint8 (n_ids,),
    the number of words of each id's n-gram; 0 for padding and unknown.
    """

    orders: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class NgramView(InputView):
    """The distinct n-grams of texts, with one trial's vocabulary.

    Args:
        texts: the n-grams with the ids of the whole vocabulary.
        order: maximum number of words of an n-gram, 1 to 3.
        vocab_size: number of n-gram ids, with padding (0) and unknown (1).
    """

    texts: NgramTexts
    order: int
    vocab_size: int

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        """An upper bound: the vocabulary may not contain all n-grams of a text."""
        return self.texts.lengths_of(rows)

    @cached_property
    def _ids(self) -> npt.NDArray[np.int32]:
        """The id in this vocabulary of each id of the whole vocabulary; 0 if it has none."""
        is_kept = (self.texts.orders > 0) & (self.texts.orders <= self.order)
        ids = np.where(is_kept, np.cumsum(is_kept) + FIRST_WORD_ID - 1, 0)
        return np.where(ids < self.vocab_size, ids, 0).astype(np.int32)

    def width(self, rows: Rows) -> int:
        _, n_kept = self._kept(rows)
        return int(n_kept.max(initial=0)) + 1

    def batch(self, rows: Rows) -> npt.NDArray[np.int32]:
        ids, n_kept = self._kept(rows)
        # Every row ends with padding, because a maximum over the columns must not depend on whether
        # a text is the longest.
        batch = np.zeros((len(rows), int(n_kept.max(initial=0)) + 1), dtype=np.int32)
        row_of = np.repeat(np.arange(len(rows)), n_kept)
        column = np.arange(len(row_of)) - np.repeat(np.cumsum(n_kept) - n_kept, n_kept)
        batch[row_of, column] = ids
        return batch

    def _kept(self, rows: Rows) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Return the n-grams of these rows that the vocabulary contains, row after row, and their
        number in each row.
        """
        lengths = self.lengths_of(rows)
        starts = np.cumsum(lengths) - lengths
        places = np.arange(lengths.sum()) + np.repeat(self.texts.offsets[rows] - starts, lengths)
        ids = self._ids[self.texts.ids[places]]
        is_kept = ids != 0
        row_of = np.repeat(np.arange(len(rows)), lengths)[is_kept]
        return ids[is_kept], np.bincount(row_of, minlength=len(rows))


def ngrams_of(texts: TokenizedTexts) -> NgramTexts:
    return texts.other(Ngrams.key, NgramTexts, what="the n-grams")


class Ngrams(Input):
    name = key = "ngrams"
    hyperparameters = ("ngrams", "ngram_vocab_size")
    declared_by = "ngrams"
    what = "n-grams"
    stands_beside = varies = has_layers = True
    file = "ngrams.txt"

    def prepare(self, data: Preparation) -> None:
        from tuning.inputs.ngram_vocabulary import build_ngrams

        if self.is_taken_by(data.space):
            build_ngrams(data.corpus, progress=data.progress)

    def n_ids(self, corpus: Corpus, space: SearchSpace, values: Values) -> int | None:
        """Return the number of ids, with padding and unknown, of a configuration's n-grams if its
        vocabulary has all n-grams of the data; None if its model takes none.
        """
        if not self.is_taken_by(space) or any(name not in values for name in self.hyperparameters):
            return None
        with contextlib.suppress(OSError, ValueError):  # The worker says that the file is damaged.
            is_kept = corpus.ngram_orders[FIRST_WORD_ID:] <= int(values["ngrams"])
            return FIRST_WORD_ID + max(int(is_kept.sum()), 1)
        return None

    def stored(self, corpus: Corpus, split: str) -> dict[str, Stored]:
        from tuning.inputs.arrow_tokenizer import map_ids

        with contextlib.suppress(OSError, ValueError, EOFError):
            ids, offsets = map_ids(corpus.ngrams_dir / split)
            return {self.key: NgramTexts(ids, offsets, corpus.ngram_orders)}
        return {}

    def view(
        self, texts: TokenizedTexts, values: Values, *, shape: Shape, ignores_padding: bool
    ) -> InputView:
        return NgramView(
            ngrams_of(texts),
            order=int(values["ngrams"]),
            vocab_size=int(values["ngram_vocab_size"]),
        )

    def example(
        self, values: Values, *, shape: Shape, n_rows: int, n_tokens: int
    ) -> npt.NDArray[Any]:
        n_ngrams = n_tokens * int(values.get("ngrams", 1))
        return np.full((n_rows, n_ngrams), UNKNOWN_ID, dtype=np.int32)

    def is_in(self, inputs: ModelInput) -> bool:
        return inputs.ngrams > 0

    def vocabulary(self, corpus: Corpus, inputs: ModelInput) -> list[str]:
        return corpus.ngrams(order=inputs.ngrams, vocab_size=inputs.ngram_vocab_size)

    def encode(
        self, texts: Sequence[str], vocabulary: Any, inputs: ModelInput
    ) -> dict[str, Stored]:
        encode = make_ngram_encoder([ngram.encode() for ngram in vocabulary], order=inputs.ngrams)
        rows = [encode(text) for text in texts]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        ids = np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int32, count=offsets[-1])
        orders = [0] * FIRST_WORD_ID + [ngram.count(" ") + 1 for ngram in vocabulary]
        return {self.key: NgramTexts(ids, offsets, np.array(orders, dtype=np.uint8))}

    def layers(self, text: Any, vocabulary: Any, inputs: ModelInput) -> Any:
        import keras

        ops = keras.ops
        ids = keras.layers.TextVectorization(
            vocabulary=vocabulary, ngrams=inputs.ngrams, name="tokenize_ngrams"
        )(text)
        # Two zeros become the first columns. The first zero is dropped, because there is nothing
        # before it to compare it with; the second is the padding that every row of n-grams has, as
        # in `tokenizer.width`. Unknown n-grams and repetitions become zeros too.
        ids = ops.sort(ops.pad(ids, [[0, 0], [2, 0]]), axis=1)
        is_first = ops.not_equal(ids[:, 1:], ids[:, :-1])
        is_known = ops.greater_equal(ids[:, 1:], FIRST_WORD_ID)
        return ops.cast(ops.where(ops.logical_and(is_first, is_known), ids[:, 1:], 0), "int32")

    def words(self, folder: Path, inputs: ModelInput) -> set[bytes]:
        return words_of(folder / self.file, inputs.ngram_vocab_size)
