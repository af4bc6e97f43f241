"""The n-grams of a corpus are those of `keras.layers.TextVectorization`, and are built once."""

from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.texts import TEXTS, splits_of
from tuning.inputs import ngram_vocabulary as ngrams_module
from tuning.inputs.arrow_tokenizer import tokenize
from tuning.inputs.corpus import Corpus, build_corpus
from tuning.inputs.ngram_vocabulary import MIN_COUNT, build_ngrams
from tuning.inputs.ngrams import NgramView, ngrams_of

TRAIN = ["not good", "not good at all", "not at all", "good good good"]
OTHER = ["not good not good", "unknown at all", ""]


def ngram_corpus(folder: Path, train: list[str], other: list[str], **options: bool) -> Corpus:
    corpus = build_corpus(folder / "abc", splits_of(train, other, other[:1], **options))
    build_ngrams(corpus)
    return corpus


def keras_layer(
    train: list[str], *, order: int, vocab_size: int
) -> tuple[list[str], keras.layers.TextVectorization]:
    """Return Keras' layer with at most `vocab_size` rows and only n-grams that occur often enough,
    or all if none does, and its n-grams.
    """
    counting = keras.layers.TextVectorization(ngrams=order, output_mode="count")
    counting.adapt(train)
    counts = np.asarray(counting(train)).sum(axis=0)[1:]
    n_kept = int((counts >= MIN_COUNT).sum()) or len(counts)
    layer = keras.layers.TextVectorization(ngrams=order, max_tokens=min(vocab_size, 2 + n_kept))
    layer.adapt(train)
    return list(map(str, layer.get_vocabulary()[2:])), layer


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    train=st.lists(TEXTS, min_size=1, max_size=6),
    other=st.lists(TEXTS, min_size=1, max_size=3),
    order=st.integers(1, 3),
    vocab_size=st.integers(3, 40),
    chunk_tokens=st.integers(1, 40),
    counts_validation=st.booleans(),
)
# An unknown word breaks n-grams.
@example(TRAIN, OTHER, 3, 40, 4, False)
@example(TRAIN, OTHER, 3, 40, 4, True)
@example(["a b", "b a"], ["a b a b a"], 2, 5, 40, False)
@example(["a\0d b"] * 2 + ["a b c"], ["a\0d b c"], 3, 9, 4, False)
def test_ngrams_equal_those_of_text_vectorization(
    tmp_path_factory: pytest.TempPathFactory,
    train: list[str],
    other: list[str],
    order: int,
    vocab_size: int,
    chunk_tokens: int,
    counts_validation: bool,
) -> None:
    # Without a word, Keras leaves its table uninitialized and can't be asked.
    counted = train + other * counts_validation
    words = tokenize(counted).words.to_pylist()
    assume(words and not any(word.endswith(b"\0") for word in words))
    with mock.patch.object(ngrams_module, "CHUNK_TOKENS", chunk_tokens):
        corpus = ngram_corpus(
            tmp_path_factory.mktemp("corpus"), train, other, counts_validation=counts_validation
        )
    names, layer = keras_layer(counted, order=order, vocab_size=vocab_size)
    ngrams = corpus.ngrams(order=order, vocab_size=vocab_size)
    assert ngrams == names
    for split, texts in (("train", train), ("validation", other)):
        expected = [sorted(set(row) - {0, 1}) for row in np.asarray(layer(texts)).tolist()]
        batch = NgramView(ngrams_of(corpus.split(split).texts), order, vocab_size).batch(
            np.arange(len(texts))
        )
        assert [[id_ for id_ in row if id_] for row in batch.tolist()] == expected


def test_vocabulary_has_the_most_frequent_ngrams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngrams_module, "MAX_NGRAMS", 4)
    corpus = ngram_corpus(tmp_path, TRAIN, OTHER)
    assert corpus.ngrams(order=3, vocab_size=99) == ["good", "not", "not good", "good good"]
    assert ngrams_of(corpus.split("train").texts).ids.max() == 5


@pytest.mark.parametrize(
    ("texts", "ngrams"),
    [(["a b", "c"], ["c", "b", "a b", "a"]), (["a b", "c a"], ["a"]), (["a a"], ["a"])],
)
def test_ngrams_that_occur_once_are_kept_if_no_word_occurs_twice(
    texts: list[str], ngrams: list[str], tmp_path: Path
) -> None:
    assert ngram_corpus(tmp_path, texts, ["b a"]).ngrams(order=3, vocab_size=99) == ngrams


def test_corpus_without_words_has_no_ngrams(tmp_path: Path) -> None:
    corpus = ngram_corpus(tmp_path, ["", "!"], ["?"])
    assert corpus.ngrams(order=3, vocab_size=99) == []
    view = NgramView(ngrams_of(corpus.split("train").texts), 3, 10)
    assert view.batch(np.arange(2)).tolist() == [[0], [0]]
