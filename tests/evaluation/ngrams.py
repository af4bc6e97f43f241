"""Reviews and small texts as n-grams."""

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from tests.texts import make_reviews
from tuning.inputs.contract import TokenizedTexts

REVIEWS = [make_reviews(n, seed=seed) for seed, n in enumerate((200, 60, 60))]
TEXTS = [frame["review_body"].tolist() for frame in REVIEWS]
LABELS = [(frame["star_rating"] >= 3).to_numpy().astype(np.int64) for frame in REVIEWS]


def tokenized(counts: sparse.csr_matrix) -> TokenizedTexts:
    """Return the columns of each row as ids, of which the first is 2."""
    counts = counts.tocsr()
    counts.sort_indices()
    return TokenizedTexts(counts.indices.astype(np.int32) + 2, counts.indptr.astype(np.int64))


def ngrams_of(
    *splits: list[str], order: int = 3
) -> tuple[list[TokenizedTexts], np.ndarray, CountVectorizer]:
    """Return the n-grams of each split, the number of words of each id, and the vocabulary of the
    first split.
    """
    vectorizer = CountVectorizer(ngram_range=(1, order), binary=True, token_pattern=r"\S+")
    vectorizer.fit(splits[0])
    names = vectorizer.get_feature_names_out()
    orders = np.array([0, 0, *(len(name.split(" ")) for name in names)], dtype=np.uint8)
    return [tokenized(vectorizer.transform(texts)) for texts in splits], orders, vectorizer


def from_lists(lists: list[list[int]]) -> TokenizedTexts:
    ids = np.array([number for text_ids in lists for number in sorted(text_ids)], dtype=np.int32)
    return TokenizedTexts(ids, np.cumsum([0, *map(len, lists)], dtype=np.int64))


def three_classes() -> tuple[list[str], np.ndarray]:
    labels = np.arange(90) % 3
    words = ("bad", "good", "odd")
    return [f"{words[label]} item {number % 7}" for number, label in enumerate(labels)], labels


(TRAIN, VALIDATION, TEST), ORDERS, _ = ngrams_of(*TEXTS)
