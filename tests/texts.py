"""Reviews made in code, and texts that are hard to tokenize."""

import random
from pathlib import Path

import pandas as pd
from hypothesis import strategies as st

GOOD = ("great", "lovely", "perfect", "excellent", "works", "happy")
BAD = ("broken", "awful", "useless", "refund", "cheap", "sad")
FILLER = (
    "the",
    "phone",
    "case",
    "and",
    "it",
    "was",
    "a",
    "cable",
    "I",
    "bought",
    "this",
    "for",
    "my",
    "car",
)

# The texts have few different words, so that frequencies are equal, and may contain any character.
TEXTS = st.one_of(
    st.lists(
        st.sampled_from(
            [
                "a",
                "b",
                "B,",
                "c",
                "é",
                "É",
                "ab",
                "A-B",
                "日",
                "\0",
                "a\0",
                "\x1c",
                "\xa0",
                "[UNK]",
                "-",
                "😀",
            ]
        ),
        max_size=8,
    ).map(" ".join),
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
    """Replace `old` by `new` in a file, which must contain `old` exactly once.

    The condition prevents tests that pass because nothing was replaced.
    """
    text = path.read_text()
    assert text.count(old) == 1, f"{path} contains {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))
