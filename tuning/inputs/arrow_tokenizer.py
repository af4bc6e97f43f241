"""The tokens of many texts at once, in Arrow arrays.

1,000,000 reviews with 116 million tokens take 5 s on 2 free cores; a loop over tokens in Python
took 24 s on one core. No TensorFlow runs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tuning.data.text_bytes import BOUNDARY, joined, offsets_of
from tuning.inputs.tokenizer import FIRST_WORD_ID, LOWER, PUNCTUATION, UNKNOWN_ID, WHITE_SPACE

# Maximum length of a word in a vocabulary: 500,000 rows of triples of such words take 600 MB in
# Keras.
MAX_WORD_BYTES = 100
BASELINE_ROWS = 33_807  # the notebook's 33,805 words, padding and unknown
# The rules of `tokenizer`, for many texts at once: on UTF-8 bytes, a table and a split are enough.
_TABLE = LOWER.translate(bytes.maketrans(WHITE_SPACE, b" " * len(WHITE_SPACE)))

# A chunk begins with a boundary. Therefore, its first two distinct tokens are the empty token and
# the boundary.
_BOUNDARY_TOKEN, _FIRST_TOKEN = 1, 2


@dataclass(frozen=True)
class Tokens:
    """The tokens of n texts, one text after the other.

    Attributes:
        words: the distinct tokens in UTF-8, an Arrow array.
        ids: int32 (n_tokens,), the index in `words` of each token.
        lengths: int64 (n,), the number of tokens of each text.
    """

    words: pa.Array
    ids: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]

    def numbers(self, vocabulary: list[str]) -> npt.NDArray[np.int32]:
        """Return the id of each token; `vocabulary` is ordered by id, from 2."""
        index = {word.encode(): number for number, word in enumerate(vocabulary, FIRST_WORD_ID)}
        ids = [index.get(word, UNKNOWN_ID) for word in self.words.to_pylist()]
        return np.array(ids, dtype=np.int32)[self.ids]


def tokenize(texts: pd.Series | list[str]) -> Tokens:
    """Split a chunk of texts into tokens, as `keras.layers.TextVectorization` does by default."""
    data = (BOUNDARY + joined(texts, end=BOUNDARY)).translate(_TABLE, PUNCTUATION)
    spaces = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord(" "))
    offsets = np.concatenate([[0], spaces + 1])
    # Each token includes the space after it, so that Arrow can use `data` without a copy. Between
    # two spaces is an empty token.
    spaced = pa.Array.from_buffers(
        pa.large_binary(), len(spaces), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    encoded = spaced.dictionary_encode()
    indices = encoded.indices.to_numpy()
    is_token = indices >= _FIRST_TOKEN
    lengths = np.diff(np.cumsum(is_token)[indices == _BOUNDARY_TOKEN])
    words = pc.binary_slice(encoded.dictionary.slice(_FIRST_TOKEN), 0, -1)
    return Tokens(words, indices[is_token] - np.int32(_FIRST_TOKEN), lengths)


def number_words(
    chunks: dict[str, list[Tokens]], *, counted: Sequence[str]
) -> tuple[list[bytes], dict[str, list[npt.NDArray[np.int32]]]]:
    """Return the words in the order of their ids, from `FIRST_WORD_ID`, and for each split and
    chunk the ids of its words. `counted`: the splits in which words are counted, which must be the
    first of `chunks`. All other words have the id `UNKNOWN_ID`, and so have those of `_no_words`.
    """
    every = [chunk for of_split in chunks.values() for chunk in of_split]
    merged = (
        pa.chunked_array([chunk.words for chunk in every], pa.large_binary())
        .dictionary_encode()
        .combine_chunks()
    )
    indices = merged.indices.to_numpy()
    counts_of_chunks = np.concatenate(
        [
            np.bincount(chunk.ids, minlength=len(chunk.words))
            for name in counted
            for chunk in chunks[name]
        ]
    )
    counts = np.bincount(
        indices[: len(counts_of_chunks)],
        weights=counts_of_chunks,
        minlength=len(merged.dictionary),
    )
    counts[_no_words(merged.dictionary)] = 0
    # Of equally frequent words, the greater has the smaller id, as in Keras.
    table = pa.table({"count": counts, "word": merged.dictionary})
    order = pc.sort_indices(table, sort_keys=[("count", "descending"), ("word", "descending")])[
        : np.count_nonzero(counts)
    ]
    ids = np.full(len(counts), UNKNOWN_ID, dtype=np.int32)
    ids[order.to_numpy()] = np.arange(FIRST_WORD_ID, FIRST_WORD_ID + len(order), dtype=np.int32)
    numbers = iter(np.split(ids[indices], np.cumsum([len(chunk.words) for chunk in every])))
    return merged.dictionary.take(order).to_pylist(), {
        name: [next(numbers) for _ in of_split] for name, of_split in chunks.items()
    }


def _no_words(words: pa.Array) -> npt.NDArray[np.bool_]:
    """Return which words no vocabulary contains, bool (n_words,)."""
    # Keras keeps a vocabulary as an array whose rows are all as wide as the longest word.
    is_long = pc.greater(pc.binary_length(words), MAX_WORD_BYTES)
    # NumPy drops a NUL at the end of a text, so Keras' vocabulary would have another word.
    ends_in_nul = pc.equal(pc.binary_slice(words, -1), pa.scalar(b"\0", words.type))
    either: npt.NDArray[np.bool_] = pc.or_(is_long, ends_in_nul).to_numpy(zero_copy_only=False)
    return either


def unknown_share(
    ids: npt.NDArray[np.int32], *, n_words: int, train: npt.NDArray[np.int32] | None = None
) -> dict[str, float]:
    """Return the share of unknown tokens, by the number of rows of the vocabulary. Words that do
    not occur among the ids `train` count as unknown, although the vocabulary contains them.
    """
    full = n_words + FIRST_WORD_ID
    counts = np.bincount(ids, minlength=full)
    if train is not None:
        is_new = np.bincount(train, minlength=full) == 0
        is_new[UNKNOWN_ID] = False
        counts[UNKNOWN_ID] += counts[is_new].sum()
        counts[is_new] = 0
    sizes = sorted({size for size in (1_000, 5_000, 10_000, BASELINE_ROWS) if size < full} | {full})
    return {
        str(size): float((counts[UNKNOWN_ID] + counts[size:].sum()) / max(counts.sum(), 1))
        for size in sizes
    }


def save_ids(
    folder: Path,
    chunks: Iterable[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]],
    *,
    file: str = "ids.bin",
) -> None:
    """Write the ids and the lengths of the texts of a split, which come in chunks."""
    folder.mkdir()
    lengths = []
    with (folder / file).open("wb") as opened:
        for ids, of_chunk in chunks:
            opened.write(ids.data)
            lengths.append(of_chunk)
    np.save(folder / "offsets.npy", offsets_of(lengths))


def map_ids(
    folder: Path, *, file: str = "ids.bin", dtype: type[np.integer[Any]] = np.int32
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return what `save_ids` has written: the ids on a memory map, and the offsets of the texts."""
    offsets = np.load(folder / "offsets.npy")
    # A file without content can't be mapped.
    ids = np.memmap(folder / file, dtype, "r") if offsets[-1] else np.empty(0, dtype)
    if offsets[-1] != len(ids):
        raise ValueError(f"{folder / file} is not whole")
    return ids, offsets
