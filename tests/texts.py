"""Reviews made in code, and texts that are hard to tokenize."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from tuning.config import SPLITS
from tuning.data.splits import SplitReviews
from tuning.inputs.contract import LabeledTexts, TokenizedTexts
from tuning.inputs.corpus import build_corpus
from tuning.inputs.ngram_vocabulary import build_ngrams
from tuning.inputs.token_ids import WordView
from tuning.targets.classes import Classes
from tuning.training.batching import View

GOOD = ("great", "lovely", "perfect", "excellent", "works", "happy")
BAD = ("broken", "awful", "useless", "refund", "cheap", "sad")
FILLER = (
    *("the", "phone", "case", "and", "it", "was", "a"),
    *("cable", "I", "bought", "this", "for", "my", "car"),
)

# The texts have few different words, so that frequencies are equal, and may contain any character.
HARD_WORDS = ("a", "b", "B,", "c", "é", "É", "ab", "A-B", "日", "[UNK]", "-", "😀")
TEXTS = st.one_of(
    st.lists(st.sampled_from((*HARD_WORDS, "\0", "a\0", "\x1c", "\xa0")), max_size=8).map(" ".join),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.text(st.characters(max_codepoint=127), max_size=20),
)


def make_reviews(n: int = 240, *, seed: int = 0) -> pd.DataFrame:
    """Return `n` reviews whose class depends on a few words, with the columns review_body and
    star_rating.
    """
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        positive = number % 2 == 0
        words = rng.choices(FILLER, k=rng.randint(3, 20)) + rng.choices(
            GOOD if positive else BAD, k=rng.randint(1, 3)
        )
        rng.shuffle(words)
        text = " ".join(words) + f", item{number}."
        rows.append(
            {"review_body": text, "star_rating": rng.choice((4, 5) if positive else (1, 2))}
        )
    return pd.DataFrame(rows)


def substitute(path: Path, old: str, new: str) -> None:
    """Replace `old` by `new` in a file, which must contain `old` exactly once."""
    path.write_text(substituted(path.read_text(), old, new))


def substituted(text: str, old: str, new: str, *, count: int = 1) -> str:
    """Return a text with `new` in the place of `old`, which must occur exactly `count` times.

    The condition prevents tests that pass because nothing was replaced.
    """
    assert text.count(old) == count, f"{old!r} occurs {text.count(old)} times in {text!r}"
    return text.replace(old, new)


def word_view(texts: TokenizedTexts, *sizes: int, **options: Any) -> View:
    """Return the view of a model that takes token ids only. The arguments are those of
    `WordView`.
    """
    return View({"ids": WordView(texts, *sizes, **options)})


def splits_of(
    train: list[str],
    validation: list[str],
    test: list[str],
    *,
    fingerprint: str = "f" * 16,
    counts_validation: bool = False,
) -> SplitReviews:
    """Return splits whose labels are 0, 1, 0, 1, …"""
    frames = {
        name: pd.DataFrame({"text": texts, "label": np.arange(len(texts), dtype=np.int64) % 2})
        for name, texts in zip(SPLITS, (train, validation, test), strict=True)
    }
    target = Classes(("negative", "positive"))
    return SplitReviews(frames, target, 1, fingerprint, counts_validation=counts_validation)


def ngram_splits(folder: Path) -> tuple[LabeledTexts, LabeledTexts]:
    """Return the training and the validation split of a tiny corpus with its n-grams."""
    reviews = make_reviews()
    texts = reviews["review_body"].tolist()
    labels = (reviews["star_rating"] > 3).to_numpy(dtype=np.int64)
    corpus = build_corpus(folder / "abc", splits_of(texts[:160], texts[160:], texts[:1]))
    build_ngrams(corpus)
    train, validation = corpus.split("train"), corpus.split("validation")
    return replace(train, labels=labels[:160]), replace(validation, labels=labels[160:])
