"""The splits train, validation and test: shares, strata and seeds. No text is in two splits."""

import string
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.texts import make_reviews
from tuning.config import SPLITS, DataConfig
from tuning.data.redraw import require_folds
from tuning.data.rows import Redraw
from tuning.data.sources import Reviews
from tuning.data.splits import fold, folded_digests, identity, split_reviews, unweighted
from tuning.errors import DataError
from tuning.targets.classes import Classes
from tuning.targets.labels import MultiLabel
from tuning.targets.number import Number
from tuning.targets.target import Target


def reviews_of(texts: list[str], labels: list[Any], target: Target | None = None) -> Reviews:
    frame = pd.DataFrame({"text": texts, "label": labels})
    return Reviews(frame, target or Classes(("negative", "positive")), "text", "label", {}, ())


def labeled(labels: list[Any], target: Target | None = None) -> Reviews:
    """Return reviews with different texts."""
    return reviews_of([f"text {i}" for i in range(len(labels))], labels, target)


def plain(n: int = 200) -> Reviews:
    return labeled([i % 2 for i in range(n)])


@settings(max_examples=50)
@given(counts=st.lists(st.integers(10, 40), min_size=2, max_size=8), seed=st.integers(0, 2**31 - 1))
def test_every_class_stands_in_every_split(counts: list[int], seed: int) -> None:
    labels = [label for label, n in enumerate(counts) for _ in range(n)]
    names = tuple(f"c{i}" for i in range(len(counts)))
    splits = split_reviews(labeled(labels, Classes(names)), seed=seed)
    assert [set(splits.frames[name]["label"]) for name in SPLITS] == [set(range(len(counts)))] * 3


def test_splits_of_a_data_set_stay_as_they_are() -> None:
    """The fingerprint depends on the split of each text. A study whose data get another fingerprint
    can't continue.
    """
    extra = ["Déjà vu!", "😀 ok", "日本語、テスト", "don't_stop"]
    frame = make_reviews()
    labels = [*(frame["star_rating"] >= 3).astype(int), 0, 1, 0, 1]
    splits = split_reviews(reviews_of([*frame["review_body"], *extra], labels), seed=7)
    assert splits.fingerprint == "f4b7b9bdede90e1c"


def test_texts_of_emoji_or_punctuation_alone_are_distinct_and_their_copies_are_kept() -> None:
    """Each of 40 such texts is in three rows. Folding removes all their characters."""
    texts = [*(chr(0x1F600 + number) for number in range(38)), "!!!", "..."]
    assert {fold(text) for text in texts} == {""}
    rows = [*texts, *(f" {text}\n" for text in texts), *texts]
    splits = split_reviews(reviews_of(rows, [number % 2 for number in range(40)] * 3), seed=0)
    assert (splits.n_duplicates, sum(map(len, splits.frames.values()))) == (80, 120)
    # None of the 40 texts is in two splits.
    assert [frame["text"].str.strip().nunique() for frame in splits.frames.values()] == [28, 6, 6]


NOISY = st.text(st.sampled_from("aAbBßẞſéÉİı .,!-_'\t\n\x1c\xa0\u2003😀"), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Great product!", "great product"),
        ("  a \t b\n\nc ", "a b c"),
        ("don't_stop", "dontstop"),
        ("STRASSE straße", "strasse strasse"),
        ("«Déjà—vu»", "déjàvu"),
        ("a\xa0b\u2003c\x1cd", "a b c d"),
        ("日本語、テスト", "日本語テスト"),
        ("😀 ok", "ok"),
        ("!!!", ""),
        ("", ""),
    ],
)
def test_fold_drops_case_punctuation_and_spaces_of(text: str, folded: str) -> None:
    assert fold(text) == folded


@settings(max_examples=300)
@given(st.lists(st.one_of(NOISY, st.text(st.characters(codec="utf-8"), max_size=3)), max_size=20))
@example([*string.printable, string.printable])
@example(
    ["".join(map(chr, range(128))), *map(chr, range(256)), *(f"a{chr(c)}b" for c in range(256))]
)
@example(["A  b", "a b ", " a\x1cB!", "a\xa0b", "ab", "«a b»", "", "!", " "])
@example(["!", " ! ", "!!", "! !", "_", "👍", "👍\n", "👎", "", " "])
def test_digests_are_equal_where_identities_are(texts: list[str]) -> None:
    digests = folded_digests(pd.Series(texts, dtype="str"))
    expected = pd.factorize(np.array([*map(identity, texts)], dtype=object))[0].tolist()
    assert pd.factorize(np.array(digests, dtype=object))[0].tolist() == expected


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("good", "; 'good' has 9. Leave the class out, or merge it with another."),
        ("a;b", "another, or give kind 'labels'."),
        ("c; d", "merge it with another."),
    ],
)
def test_class_with_fewer_than_ten_different_texts_is_refused(name: str, end: str) -> None:
    """A rare set of labels may be of another kind."""
    texts = [*(f"text {i}" for i in range(59)), *(f"TEXT {i}!" for i in range(50, 59))]
    labels = [*[0] * 25, *[1] * 25, *[2] * 18]
    with pytest.raises(DataError) as error:
        split_reviews(reviews_of(texts, labels, Classes(("a", "b", name))), seed=0)
    assert str(error.value).endswith(end)


@pytest.mark.parametrize("n_rare", [1, 2, 5, 6])
def test_numbers_of_which_few_are_rare_are_split(n_rare: int) -> None:
    """A stratum of numbers is no class, of which each split must have some."""
    reviews = labeled([0.0] * (300 - n_rare) + [7.0] * n_rare, Number())
    for seed in range(5):
        splits = split_reviews(reviews, seed=seed)
        assert sum(map(len, splits.frames.values())) == 300


def test_number_that_is_rare_beside_a_given_test_split_is_split() -> None:
    reviews = labeled([0.0] * 292 + [7.0] * 8, Number())
    reviews.frame["split"] = ["train"] * 250 + ["test"] * 43 + ["train"] + ["test"] * 6
    splits = split_reviews(reviews, seed=0, config=DataConfig(split_column="split"))
    assert [*map(len, splits.frames.values())] == [206, 45, 49]
    assert require_folds(splits.rows, Redraw(seed=0, n_folds=5))


def test_label_without_rows_has_no_rows_without_weights() -> None:
    target, weights = MultiLabel(("a", "b")), np.float32([1, 0])
    assert unweighted(target, np.array([[1, 0], [1, 0]]), weights) is None
    assert unweighted(target, np.array([[1, 0], [0, 1]]), weights) == "rows of 'b'"


def test_label_set_of_copies_of_one_text_is_split() -> None:
    texts = [f"text {i}" for i in range(100)] + ["same"] * 12
    labels = np.array([[i % 2, (i + 1) % 2] for i in range(100)] + [[0, 0]] * 12)
    splits = split_reviews(reviews_of(texts, [*labels], MultiLabel(("a", "b"))), seed=0)
    assert sum(map(len, splits.frames.values())) == 112


def test_fingerprint_changes_with_each_part() -> None:
    class Other(Number):
        kind = "other"

    def changed(column: str, value: object) -> Reviews:
        reviews = plain()
        reviews.frame.loc[7, column] = value
        return reviews

    sets = [np.array([n % 2, n // 2 % 2]) for n in range(200)]
    every = [
        *(plain(), plain(202), changed("text", "text 7!"), changed("label", 0)),
        replace(plain(), target=Classes(("no", "yes"))),
        *(labeled([n / 2 for n in range(200)], target) for target in (Number(), Other())),
        labeled(sets, MultiLabel(("a", "b"))),
        labeled([1 - sets[0], *sets[1:]], MultiLabel(("a", "b"))),
    ]
    fingerprints = {split_reviews(reviews, seed=0).fingerprint for reviews in every}
    assert len(fingerprints | {split_reviews(plain(), seed=1).fingerprint}) == len(every) + 1


def test_fingerprint_sees_where_a_text_ends() -> None:
    reviews = plain()
    first, second = split_reviews(reviews, seed=0).frames["train"]["text"].iloc[:2]
    moved = (
        {first: first + "x", second: second.removeprefix("t")},
        {first: first, second: "x" + second.removeprefix("t")},
    )
    texts = [reviews.frame["text"].replace(changes) for changes in moved]
    both = [
        split_reviews(replace(reviews, frame=reviews.frame.assign(text=t)), seed=0) for t in texts
    ]
    assert len({"".join(splits.frames["train"]["text"]) for splits in both}) == 1
    assert both[0].fingerprint != both[1].fingerprint
