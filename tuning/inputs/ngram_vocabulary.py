"""N-grams of one to three words: their vocabulary, and the n-grams of each text, from the token ids
of a corpus.

No text is tokenized again. The n-grams are ordered by their frequency in the splits in which words
are counted, as `keras.layers.TextVectorization(ngrams=3)` orders them, so a smaller vocabulary is a
prefix of a larger one. For each text the distinct n-grams are stored, because the models count an
n-gram once for each text (Wang and Manning, 2012, "Baselines and Bigrams").
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tuning.config import SPLITS, counted_splits
from tuning.data.files import Progress
from tuning.data.folders import build_once
from tuning.hardware import available_cores
from tuning.inputs.arrow_tokenizer import save_ids
from tuning.inputs.contract import TokenizedTexts
from tuning.inputs.corpus import Corpus
from tuning.inputs.tokenizer import FIRST_WORD_ID

MAX_ORDER = 3
# N-grams that occur once in the counted splits are left out. They are about 80 % of all n-grams,
# and no model can learn from them.
MIN_COUNT = 2
# Maximum number of n-grams of a vocabulary. A data set of 18,000 reviews has 350,000.
MAX_NGRAMS = 1_000_000
# An n-gram is a number of 63 bits, so that int64 stays positive: 21 bits for the id of each word.
WORD_BITS = 21
# Number of tokens that a thread takes at once: small enough for the caches, and to divide the work
# evenly among the threads. The n-grams of the film reviews take 2.25 s, and 3.3 s with 2,000,000.
CHUNK_TOKENS = 500_000

Ids = npt.NDArray[np.int32]
Keys = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Vocabulary:
    """The n-grams that get an id.

    Attributes:
        ngrams: the n-grams in UTF-8, an Arrow array; the first has the id `FIRST_WORD_ID`.
        orders: uint8 (n_ids,), the number of words of each id; 0 for padding and unknown.
        keys: for each order the sorted keys of its n-grams, int64 (n,), and their ids, int32 (n,).
    """

    ngrams: pa.Array
    orders: npt.NDArray[np.uint8]
    keys: dict[int, tuple[Keys, Ids]]


def build_ngrams(
    corpus: Corpus, *, n_threads: int | None = None, progress: Progress | None = None
) -> None:
    build_once(corpus.ngrams_dir, lambda folder: _write(folder, corpus, n_threads, progress))


def _write(folder: Path, corpus: Corpus, n_threads: int | None, progress: Progress | None) -> None:
    counted = [
        replace(corpus.split(name).texts, others={})
        for name in counted_splits(corpus.card.counts_validation)
    ]
    vocabulary = _vocabulary(functools.reduce(operator.add, counted), corpus.words(2**31), progress)
    (folder / "vocabulary.txt").write_bytes(b"\n".join(vocabulary.ngrams.to_pylist()))
    np.save(folder / "orders.npy", vocabulary.orders)
    with ThreadPoolExecutor(n_threads or available_cores()) as threads:
        for number, name in enumerate(SPLITS):
            if progress:
                progress("finding n-grams", (MAX_ORDER + number) / (MAX_ORDER + len(SPLITS)))
            texts = corpus.split(name).texts
            distinct = functools.partial(_distinct, texts, vocabulary)
            save_ids(folder / name, threads.map(distinct, _chunks(texts)))


def _vocabulary(texts: TokenizedTexts, words: list[str], progress: Progress | None) -> _Vocabulary:
    counts = np.bincount(texts.ids, minlength=FIRST_WORD_ID + len(words))
    # If each word occurs once, the vocabulary would be empty.
    min_count = 1 if counts[FIRST_WORD_ID:].max(initial=0) == 1 else MIN_COUNT
    # The ids are ordered by frequency, so the words that occur often enough are a prefix.
    n_ids = FIRST_WORD_ID + int(np.count_nonzero(counts[FIRST_WORD_ID:] >= min_count))
    n_ids = min(n_ids, 2**WORD_BITS)
    frequent: dict[int, tuple[Keys, Keys]] = {
        1: (np.arange(FIRST_WORD_ID, n_ids, dtype=np.int64), counts[FIRST_WORD_ID:n_ids])
    }
    for order in range(2, MAX_ORDER + 1):
        if progress:
            progress("counting n-grams", (order - 1) / (MAX_ORDER + len(SPLITS)))
        frequent[order] = _frequent_keys(texts, n_ids, order=order, min_count=min_count)
    return _most_frequent(frequent, pa.array([word.encode() for word in words], pa.large_binary()))


def _frequent_keys(
    texts: TokenizedTexts, n_ids: int, *, order: int, min_count: int
) -> tuple[Keys, Keys]:
    """Return the sorted keys of n-grams that occur at least `min_count` times, and their counts."""
    # One sort of all keys needs 8 bytes for each token and no table: 1 GB for 116 million tokens.
    keys = np.empty(len(texts.ids), dtype=np.int64)
    n = 0
    for first, last in _chunks(texts):
        chunk, _ = _keys_of(texts, first, last, order=order, n_ids=n_ids)
        keys[n : n + len(chunk)] = chunk
        n += len(chunk)
    keys = keys[:n]
    keys.sort()
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[:n])
    counts = np.diff(starts, append=n)
    often = counts >= min_count
    return keys[starts[often]], counts[often]


def _keys_of(
    texts: TokenizedTexts, first: int, last: int, *, order: int, n_ids: int
) -> tuple[Keys, npt.NDArray[np.int64]]:
    """Return the keys of all n-grams of the texts `first` to `last`, and for each key the index of
    its text, from `first`. N-grams with a word whose id is unknown or `n_ids` or more are left out.
    """
    bounds = texts.offsets[first : last + 1]
    ids = np.asarray(texts.ids[bounds[0] : bounds[-1]], dtype=np.int64)
    text_of = np.repeat(np.arange(last - first), np.diff(bounds))
    is_known = (ids >= FIRST_WORD_ID) & (ids < n_ids)
    n = max(len(ids) - order + 1, 0)
    keys = np.zeros(n, dtype=np.int64)
    inside = text_of[:n] == text_of[order - 1 :]
    for word in range(order):
        keys <<= WORD_BITS
        keys |= ids[word : word + n]
        inside &= is_known[word : word + n]
    return keys[inside], text_of[:n][inside]


def _most_frequent(frequent: dict[int, tuple[Keys, Keys]], words: pa.Array) -> _Vocabulary:
    keys, counts = (np.concatenate(part) for part in zip(*frequent.values(), strict=True))
    order_of = np.repeat([*frequent], [len(keys) for keys, _ in frequent.values()]).astype(np.uint8)
    if len(counts) > MAX_NGRAMS:
        # Only n-grams as frequent as the last n-gram that is kept must be compared by their text.
        kept = counts >= np.partition(counts, len(counts) - MAX_NGRAMS)[len(counts) - MAX_NGRAMS]
        keys, counts, order_of = keys[kept], counts[kept], order_of[kept]
    texts = pa.chunked_array([_texts(keys[order_of == order], order, words) for order in frequent])
    # Of equally frequent n-grams, the greater has the smaller id, as in Keras.
    table = pa.table({"count": counts, "ngram": texts})
    rows = pc.sort_indices(
        table, sort_keys=[("count", "descending"), ("ngram", "descending")]
    ).to_numpy()[:MAX_NGRAMS]
    ids = np.zeros(len(counts), dtype=np.int32)
    ids[rows] = np.arange(FIRST_WORD_ID, FIRST_WORD_ID + len(rows), dtype=np.int32)
    orders = np.concatenate([np.zeros(FIRST_WORD_ID, dtype=np.uint8), order_of[rows]])
    by_order = {}
    for order in frequent:
        kept = (order_of == order) & (ids > 0)
        by_order[order] = keys[kept], ids[kept]
    return _Vocabulary(texts.combine_chunks().take(pa.array(rows)), orders, by_order)


def _texts(keys: Keys, order: int, words: pa.Array) -> pa.Array:
    rows = [
        (keys >> (WORD_BITS * (order - 1 - word)) & (2**WORD_BITS - 1)) - FIRST_WORD_ID
        for word in range(order)
    ]
    parts = [words.take(pa.array(row)) for row in rows]
    separator = pa.scalar(b" ", pa.large_binary())
    return pc.binary_join_element_wise(*parts, separator) if order > 1 else parts[0]


def _distinct(
    texts: TokenizedTexts, vocabulary: _Vocabulary, chunk: tuple[int, int]
) -> tuple[Ids, npt.NDArray[np.int64]]:
    """Return the ids of the distinct n-grams of a chunk of texts, ascending for each text, and
    their number in each text.
    """
    first, last = chunk
    pairs = []
    for order, (known, ids) in vocabulary.keys.items():
        if not len(known):
            continue
        keys, text_of = _keys_of(texts, first, last, order=order, n_ids=2**WORD_BITS)
        positions = np.searchsorted(known, keys)
        positions[positions == len(known)] = 0
        hits = known[positions] == keys
        pairs.append(text_of[hits] << 32 | ids[positions[hits]])
    # `np.unique` needs several times as long as a sort here.
    sorted_pairs = np.sort(np.concatenate(pairs)) if pairs else np.empty(0, dtype=np.int64)
    is_first = np.concatenate([[True], sorted_pairs[1:] != sorted_pairs[:-1]])
    distinct = sorted_pairs[is_first[: len(sorted_pairs)]]
    lengths = np.bincount(distinct >> 32, minlength=last - first)
    return (distinct & (2**32 - 1)).astype(np.int32), lengths


def _chunks(texts: TokenizedTexts) -> Iterator[tuple[int, int]]:
    numbers = texts.offsets[:-1] // CHUNK_TOKENS
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    return itertools.pairwise([*starts.tolist(), len(texts)])
