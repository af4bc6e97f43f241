"""The contract of every kind of split: parts, duplicates, seeds, groups and times; folds and fresh
splits; and the way of columns and files to the data card.
"""

import hashlib
import itertools
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.data.test_splits import labeled
from tests.texts import make_reviews
from tuning.config import SPLITS, TFDS_SPLIT, DataConfig, StudyConfig
from tuning.data import group_split
from tuning.data.redraw import redrawn, require_folds
from tuning.data.rows import LEFT_OUT, Parts, Redraw, Rows
from tuning.data.sources import Reviews
from tuning.data.splits import SHARES, SPLIT_KINDS, distinct_codes, split_reviews, without_copies
from tuning.errors import ArgumentError, DataError
from tuning.results import ResultsDir
from tuning.study.prepare import prepare_corpus
from tuning.targets.classes import MIN_TEXTS_PER_CLASS, Classes

NOISY = st.text(st.sampled_from("aAbBßẞé .,!-_'\t\n\xa0😀"), min_size=1, max_size=4)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Return texts, labels, groups and times. Some texts occur in several groups."""
    n_classes = draw(st.integers(2, 4))
    plain = [(f"text {n}", n % n_classes) for n in range(n_classes * MIN_TEXTS_PER_CLASS)]
    noisy = draw(st.lists(st.tuples(NOISY, st.integers(0, n_classes - 1)), max_size=40))
    rows = draw(st.permutations([*plain, *noisy]))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    groups = rng.permutation(np.arange(len(rows)) % draw(st.integers(6, 60)))
    # The rows of a group are near in time, and each group begins at a time of its own.
    times = rng.permutation(groups.max() + 1)[groups] * 3 + rng.integers(0, 5, size=len(rows))
    return pd.DataFrame(rows, columns=["text", "label"]).assign(group=groups, time=times)


def rows_of(table: pd.DataFrame, *, groups: bool = True, times: bool = True) -> Rows:
    return Rows(
        texts=distinct_codes(table["text"].astype("str")),
        strata=table["label"].to_numpy(dtype=np.int64),
        groups=table["group"].to_numpy() if groups else None,
        times=table["time"].to_numpy() if times else None,
    )


def parts_of(rows: Rows, kind: str, *, seed: int) -> Parts:
    parts = SPLIT_KINDS[kind].draw(rows, [*SHARES.values()], seed=seed)
    return without_copies(parts, rows.texts)


def no_group_in_two(rows: Rows, parts: Parts) -> bool:
    kept = pd.DataFrame({"part": parts, "group": rows.groups})[parts != LEFT_OUT]
    return kept.groupby("group")["part"].nunique().max() == 1


def last_times(rows: Rows) -> pd.Series:
    """Return the time of each row, which is that of the last row of its group."""
    times = pd.Series(rows.times)
    return times if rows.groups is None else times.groupby(rows.groups).transform("max")


every_kind = pytest.mark.parametrize("kind", SPLIT_KINDS)
contract = settings(max_examples=40)
seeds = st.integers(0, 2**31 - 1)


@every_kind
@contract
@given(table=tables(), seed=seeds)
def test_every_part_has_rows_and_no_text_is_in_two(
    kind: str, table: pd.DataFrame, seed: int
) -> None:
    rows = rows_of(table)
    parts = parts_of(rows, kind, seed=seed)
    assert (parts.dtype, parts.shape) == (np.int8, (len(table),))
    assert {*parts} - {LEFT_OUT} == {0, 1, 2}
    kept = pd.DataFrame({"part": parts, "text": rows.texts})[parts != LEFT_OUT]
    assert kept.groupby("text")["part"].nunique().max() == 1
    assert {*kept["text"]} == {*rows.texts}  # A row that is left out is a copy of one that stays.


@pytest.mark.slow
@settings(max_examples=1000)
@given(table=tables(), seed=seeds, groups=st.booleans(), n_folds=st.integers(2, 5))
def test_no_group_and_no_later_row_is_in_two_parts_or_folds(
    table: pd.DataFrame, seed: int, groups: bool, n_folds: int
) -> None:
    of_groups = rows_of(table, times=False)
    assert no_group_in_two(of_groups, parts_of(of_groups, "group", seed=seed))
    in_time = rows_of(table, groups=groups)
    parts, times = parts_of(in_time, "time", seed=seed), last_times(in_time)
    assert not groups or no_group_in_two(in_time, parts)
    for part in (1, 2):
        assert times[(parts >= 0) & (parts < part)].max() < times[parts >= part].min()
    assume(times.nunique() > n_folds)  # Folds in time need one part more.
    for rows in (of_groups, in_time):
        folds = redrawn(rows, Redraw(seed=seed, n_folds=n_folds))
        assert len(folds) == n_folds
        for train, validation in folds:
            assert len(train) and len(validation)
            assert not {*rows.texts[train]} & {*rows.texts[validation]}
            if rows.groups is not None:
                assert not {*rows.groups[train]} & {*rows.groups[validation]}
            assert rows is of_groups or times[train].max() < times[validation].min()


@every_kind
@contract
@given(table=tables(), seed=seeds, n_folds=st.integers(2, 5))
def test_folds_evaluate_each_row_once_and_depend_on_the_seed(
    kind: str, table: pd.DataFrame, seed: int, n_folds: int
) -> None:
    rows = rows_of(table, groups=kind == "group", times=kind == "time")
    folds, again = (redrawn(rows, Redraw(seed=seed, n_folds=n_folds)) for _ in range(2))
    evaluated = np.concatenate([validation for _, validation in folds])
    assert len({*evaluated}) == len(evaluated)
    # The first part in time is evaluated by no fold.
    assert (len(evaluated) == len(table)) == (kind != "time")
    for first, second in zip(folds, again, strict=True):
        assert [part.tolist() for part in first] == [part.tolist() for part in second]


def test_a_fresh_split_has_the_share_of_the_present_one_and_other_rows() -> None:
    rows = Rows(np.arange(1000), np.arange(1000) % 2, groups=np.arange(1000) // 4)
    ((_, first),), ((_, second),) = (
        redrawn(rows, Redraw(seed=seed), validation_share=0.2) for seed in (1, 2)
    )
    assert abs(len(first) - 200) <= 4
    assert 20 < len({*first} & {*second}) < 60  # 40 by chance


# Digests of the rows, by the kind of split: of the three splits, of a fresh split, of three folds.
DIGESTS = {
    "random": ["54b4d231", "3b37da5e", "8d63f8ca"],
    "group": ["fb2640ca", "0c8b74df", "5da54543"],
    "time": ["fe995614", "147fc81f", "f31a81c8"],
}


@every_kind
def test_a_seed_gives_the_same_rows_in_every_process_and_version(kind: str) -> None:
    table = pd.DataFrame(
        [(f"text {n}", n % 3, n % 20, n % 50) for n in range(90)],
        columns=["text", "label", "group", "time"],
    )
    rows = rows_of(table, groups=kind != "random", times=kind == "time")
    fresh = redrawn(rows, Redraw(seed=7), validation_share=0.2)
    folds = redrawn(rows, Redraw(seed=7, n_folds=3))
    drawn = [[parts_of(rows, kind, seed=7)], itertools.chain(*fresh), itertools.chain(*folds)]
    digests = [hashlib.sha256(b"".join(places.tobytes() for places in part)) for part in drawn]
    assert [digest.hexdigest()[:8] for digest in digests] == DIGESTS[kind]


@contract
@given(table=tables(), seed=seeds)
def test_the_random_split_has_70_15_15_of_the_texts(table: pd.DataFrame, seed: int) -> None:
    rows = rows_of(table)
    parts = parts_of(rows, "random", seed=seed)[np.unique(rows.texts, return_index=True)[1]]
    for number, name in enumerate(SPLITS):
        assert abs((parts == number).sum() - SHARES[name] * len(parts)) <= 1


def test_groups_of_different_sizes_keep_the_shares_of_rows_and_classes() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), rng.geometric(0.1, size=200))
    labels = (rng.random(len(groups)) < rng.beta(2, 6, size=200)[groups]).astype(np.int64)
    parts = parts_of(Rows(np.arange(len(groups)), labels, groups), "group", seed=0)
    for number, share in enumerate(SHARES.values()):
        assert np.mean(parts == number) == pytest.approx(share, rel=0.05)
        assert labels[parts == number].mean() == pytest.approx(labels.mean(), rel=0.1)


def test_seeds_give_different_splits_of_few_groups() -> None:
    rows = Rows(np.arange(1000), np.arange(1000) % 2, groups=np.arange(1000) % 14)
    drawn = {
        tuple(redrawn(rows, Redraw(seed=seed), validation_share=0.18)[0][1]) for seed in range(10)
    }
    assert len(drawn) >= 8


def test_fresh_split_by_groups_has_training_rows_of_each_class() -> None:
    """Six of 8 classes have one group. 3 of 20 seeds draw one of these for validation alone."""
    classes, groups = np.repeat(np.arange(8), 10), np.repeat(np.arange(48), 10)
    strata = np.concatenate([classes, np.arange(400) % 2])
    rows = Rows(np.arange(480), strata, groups)
    for seed in range(20):
        ((train, _),) = redrawn(rows, Redraw(seed=seed), validation_share=0.18)
        assert {*strata[train]} == {*range(8)}


def test_fresh_split_by_groups_has_validation_rows_of_two_classes() -> None:
    """The rare class has two groups of 40. 1 of 20 seeds first draws both for training."""
    groups = np.repeat(np.arange(40), 10)
    strata = (groups < 2).astype(np.int64)
    rows = Rows(np.arange(400), strata, groups)
    for seed in range(20):
        ((train, validation),) = redrawn(rows, Redraw(seed=seed), validation_share=0.18)
        assert {*strata[train]} == {*strata[validation]} == {0, 1}


def test_folds_by_groups_have_rows_of_each_class() -> None:
    """The rarest of three classes has 6 of 100 groups."""
    groups = np.repeat(np.arange(100), 10)
    strata = np.where(groups < 6, 2, np.arange(1000) % 2)
    rows = Rows(np.arange(1000), strata, groups)
    for seed in range(10):
        for fold in require_folds(rows, Redraw(seed=seed, n_folds=5)):
            assert all({*strata[places]} == {0, 1, 2} for places in fold)


@pytest.mark.parametrize("n_folds", [1, 5])
def test_training_rows_of_each_class_have_weights(n_folds: int) -> None:
    """Two of 20 rows of a class have weights. Some seeds first draw both for validation."""
    numbers = np.arange(100)
    strata, is_learned = numbers // 80, (numbers < 80) | (numbers >= 98)
    rows = Rows(numbers, strata, is_learned=is_learned)
    for seed in range(50):
        for train, _ in redrawn(rows, Redraw(seed=seed, n_folds=n_folds), validation_share=0.2):
            assert {*strata[train[is_learned[train]]]} == {0, 1}


def test_first_draw_counts_where_no_draw_has_weights_of_each_class() -> None:
    numbers = np.arange(100)
    rows = Rows(numbers, numbers // 80)
    drawn, expected = (
        redrawn(each, Redraw(seed=1, n_folds=5))
        for each in (replace(rows, is_learned=numbers < 80), rows)
    )
    assert [[*map(list, fold)] for fold in drawn] == [[*map(list, fold)] for fold in expected]


def test_folds_of_a_class_that_has_only_copies_are_refused() -> None:
    """The only text of class 2 is a copy of a text of class 0."""
    rows = Rows(np.append(np.arange(40), 0), np.append(np.arange(40) % 2, 2))
    with pytest.raises(DataError, match="5 folds must have texts of each class"):
        require_folds(rows, Redraw(seed=0, n_folds=5))


@pytest.mark.parametrize("share", [0.72, 0.8, 0.95])
def test_a_group_larger_than_every_part_is_train_alone(share: float) -> None:
    groups = np.where(np.arange(1000) < share * 1000, 0, np.arange(1000))
    parts = parts_of(Rows(np.arange(1000), np.arange(1000) % 2, groups), "group", seed=0)
    rest = 1000 * (1 - share) / 2
    sizes = [(parts == part).sum() for part in (0, 1, 2)]
    assert sizes == pytest.approx([1000 * share, rest, rest])


def test_spaces_and_missing_values_of_groups() -> None:
    values = pd.Series(["a", " a ", "A", "", "NaN", "null", "b"], dtype="str")
    numbers = group_split.numbers(values)
    assert numbers[0] == numbers[1] and len({*numbers}) == 6


# From columns and files to the data card


def write_reviews(folder: Path, **columns: list[object]) -> str:
    path = folder / "reviews.csv"
    make_reviews(120).assign(**columns).to_csv(path, index=False)
    return str(path)


def prepared(folder: Path, config: DataConfig):
    return prepare_corpus(StudyConfig(study="s", data=config), results=ResultsDir(folder))


def test_groups_and_times_of_columns_reach_the_corpus(tmp_path: Path) -> None:
    path = write_reviews(
        tmp_path,
        shop=["" if n % 6 == 5 else f"shop {n % 30}" for n in range(120)],
        day=[f"2026-{1 + n // 28:02}-{1 + n % 28:02}" for n in range(120)],
    )
    corpus, splits = prepared(tmp_path, DataConfig(data=path, group_column="shop"))
    shops = [{*frame["group"]} - {""} for frame in splits.frames.values()]
    assert shops[0].isdisjoint(shops[1] | shops[2]) and shops[1].isdisjoint(shops[2])
    assert corpus.card.split_rule == (
        "All rows with the same shop are in the same split, and no text is in two of them; a row"
        " without shop is a group of its own."
    )
    n_rows = corpus.card.n_rows
    assert corpus.rows.groups is not None and corpus.rows.times is None
    assert len(corpus.rows.groups) == n_rows["train"] + n_rows["validation"]
    assert len({*corpus.rows.groups[corpus.rows.groups >= 0]}) > len(shops[0] | shops[1])

    corpus, splits = prepared(tmp_path, DataConfig(data=path, time_column="day"))
    days = [splits.frames[name]["time"] for name in SPLITS]
    assert days[0].max() < days[1].min() and days[1].max() < days[2].min()
    assert [len(part) for part in days] == [84, 18, 18]
    assert corpus.card.split_rule.startswith(
        f"The rows are in the order of day: first train, then validation (from {days[1].min()}),"
        f" then test (from {days[2].min()}), and no text"
    )
    _, splits = prepared(tmp_path, DataConfig(data=path, time_column="day", group_column="shop"))
    shops = [{*frame["group"]} - {""} for frame in splits.frames.values()]
    assert shops[0].isdisjoint(shops[1] | shops[2]) and shops[1].isdisjoint(shops[2])
    assert splits.sentence.endswith(" A shop counts with the time of its last row.")


def test_rows_go_where_a_column_says_and_copies_leave_train(tmp_path: Path) -> None:
    names = [["Train", "train", "VAL", "test"][n // 5 % 4] for n in range(120)]
    path = write_reviews(tmp_path, part=names)
    frame = pd.read_csv(path)
    copied = frame[frame["part"] == "test"].iloc[:2].assign(part="train")
    copied["review_body"] = copied["review_body"].str.upper()
    pd.concat([frame, copied]).to_csv(path, index=False)
    corpus, splits = prepared(tmp_path, DataConfig(data=path, split_column="part"))
    assert {name: {*part["split"]} for name, part in splits.frames.items()} == {
        "train": {"Train", "train"},
        "validation": {"VAL"},
        "test": {"test"},
    }
    assert corpus.card.n_rows == {"train": 60, "validation": 30, "test": 30}
    assert corpus.card.dropped == {"whose text is in a later split": 2}
    assert corpus.card.split_rule == "The rows were split by the column part."
    config = DataConfig(data=path, split_column="part", time_column="star_rating")
    assert prepared(tmp_path, config)[1].sentence == (
        "The rows were split by the column part. All splits are given, so star_rating has no"
        " effect."
    )


@pytest.mark.parametrize(
    ("roles", "values", "value_of_test", "sentence"),
    [
        ({}, ["x"] * 120, "x", "split by their files. The rows of validation were drawn from"),
        (
            {"group_column": "note"},
            [f"shop {n % 40}" for n in range(120)],
            "shop 7",
            "3 rows have the note of a row in a later split.* In these two, all rows with the same"
            " note are in the same",
        ),
        (
            {"time_column": "note"},
            [f"2020-01-{n % 28 + 1:02}" for n in range(120)],
            "2001-01-01",
            r"in the order of note: first train, then validation \(from 2020-01-\d\d\), and",
        ),
    ],
)
def test_a_file_is_the_test_split_and_validation_is_drawn(
    roles: dict[str, Any], values: list[object], value_of_test: str, sentence: str, tmp_path: Path
) -> None:
    """Groups of the test file may also be in train, and its times may be earlier."""
    path, other = write_reviews(tmp_path, note=values), make_reviews(160)[120:]
    other.assign(note=value_of_test).to_csv(tmp_path / "other.csv", index=False)
    config = DataConfig(data=path, test=str(tmp_path / "other.csv"), **roles)
    corpus, splits = prepared(tmp_path, config)
    assert [*splits.frames["test"]["text"]] == [*other["review_body"]]
    assert sum(corpus.card.n_rows.values()) == 160
    assert corpus.card.n_rows["validation"] == pytest.approx(120 * 0.15 / 0.85, abs=3)
    assert re.search(sentence, corpus.card.split_rule)
    if "group_column" in roles:
        shops = [{*splits.frames[name]["group"]} for name in ("train", "validation")]
        assert shops[0].isdisjoint(shops[1])


def test_order_with_a_rare_class_in_each_part_is_preferred() -> None:
    """Twice its share deviates more than none of it: 10 of 200 seeds gave each part some."""
    strata = np.array([0] * 90 + [1] * 10)
    groups = np.array([*range(90), *[90] * 4, *[91] * 3, *[92] * 3])
    rows = Rows(texts=np.arange(100), strata=strata, groups=groups)
    drawn = [SPLIT_KINDS["group"].draw(rows, [0.7, 0.15, 0.15], seed=seed) for seed in range(40)]
    assert sum({*parts[strata == 1]} == {0, 1, 2} for parts in drawn) > 10


@pytest.mark.parametrize("missing", ["review_body", "star_rating", "shop"])
def test_a_file_without_a_column_is_refused(tmp_path: Path, missing: str) -> None:
    path = write_reviews(tmp_path, shop=["a"] * 120)
    other = tmp_path / "other.csv"
    pd.read_csv(path).drop(columns=missing).to_csv(other, index=False)
    config = DataConfig(data=path, test=str(other), group_column="shop")
    with pytest.raises(DataError, match=rf"test must have .*other\.csv lacks '{missing}'"):
        prepared(tmp_path, config)


@pytest.mark.parametrize(("same", "other"), [("validation", "data"), ("test", "validation")])
def test_one_file_for_two_splits_is_refused(tmp_path: Path, same: str, other: str) -> None:
    path = write_reviews(tmp_path)
    files = {"data": path, "validation": str(tmp_path / "v.csv")}
    shutil.copy(path, files["validation"])
    files[same] = f"{Path(files[other]).parent}/../{tmp_path.name}/{Path(files[other]).name}"
    words = f"{same} must be another file than {other}; both are .* Name the file of each, or"
    with pytest.raises(DataError, match=words):
        prepared(tmp_path, DataConfig(**files))


def test_a_tfds_data_set_keeps_its_own_test_split() -> None:
    new = DataConfig(data="tfds:imdb_reviews").with_own_splits()
    assert new.split_column == TFDS_SPLIT
    reviews = reviews_of(["train"] * 60 + ["test"] * 30 + ["unsupervised"] * 10)
    frames = split_reviews(reviews, seed=0, config=new).frames
    assert {*frames["test"]["split"]} == {"test"} and len(frames["test"]) == 30
    assert {*frames["train"]["split"]} == {"train", "unsupervised"}
    for own in ({"split_column": "part"}, {"test": "t.csv"}, {"data": "reviews.csv"}):
        config = DataConfig(**{"data": "tfds:imdb_reviews", **own})
        assert config.with_own_splits() == config


def test_weights_of_a_column_reach_the_corpus(tmp_path: Path) -> None:
    path = write_reviews(tmp_path, votes=[f" {n % 7}.0" for n in range(120)])
    corpus, splits = prepared(tmp_path, DataConfig(data=path, weight_column="votes"))
    without, _ = prepared(tmp_path, DataConfig(data=path))
    texts = pd.read_csv(path)["review_body"].tolist()
    for name, frame in splits.frames.items():
        weights = corpus.split(name).weights
        assert weights is not None and weights.dtype == np.float32
        assert weights.tolist() == [texts.index(text) % 7 for text in frame["text"]]
        assert without.split(name).weights is None
    assert corpus.rows.is_learned is not None and without.rows.is_learned is None
    assert corpus.rows.is_learned.tolist() == [
        weight > 0 for name in SPLITS[:2] for weight in splits.frames[name]["weight"]
    ]
    # Other weights are other data.
    assert len({corpus.fingerprint, without.fingerprint}) == 2
    path = write_reviews(tmp_path, votes=[1] * 120)
    assert prepared(tmp_path, DataConfig(data=path, weight_column="votes"))[0] != corpus


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("many", "0 or more, in each row; 1 of 119 rows have .*, the first 'many' in row 3"),
        ("", "the first ''"),
        ("-1", "the first '-1'"),
        ("inf", "the first 'inf'"),
        ("1e39", "the first '1e39'"),
    ],
)
def test_cells_that_are_no_weights_are_refused(cell: str, says: str, tmp_path: Path) -> None:
    labels = ["", *["a", "b"] * 59, "a"]
    path = write_reviews(tmp_path, votes=["1", "1", cell, *["1"] * 117], star_rating=labels)
    with pytest.raises(DataError, match=f"weight_column 'votes' must have .*{says}"):
        prepared(tmp_path, DataConfig(data=path, weight_column="votes"))


@pytest.mark.parametrize(
    ("votes", "says"),
    [
        ([0] * 120, "0; all are 0"),
        ([0] * 80 + [1] * 40, "0 in the training split; there, all rows have 0"),
        ([0, 1] * 40 + [1] * 40, "0 in the training split; there, all rows of 'bad' have 0"),
    ],
)
def test_weights_that_are_all_0_are_refused(votes: list[object], says: str, tmp_path: Path) -> None:
    split = ["train"] * 80 + ["validation"] * 20 + ["test"] * 20
    path = write_reviews(tmp_path, split=split, votes=votes, star_rating=["bad", "good"] * 60)
    config = DataConfig(data=path, split_column="split", weight_column="votes")
    with pytest.raises(DataError, match=f"'votes' must have numbers above {says}"):
        prepared(tmp_path, config)


def test_a_tfds_data_set_of_train_alone_is_split_at_random() -> None:
    reviews = reviews_of(["train"] * 100)
    with_column = split_reviews(reviews, seed=3, config=DataConfig(split_column=TFDS_SPLIT))
    without = split_reviews(replace(reviews, frame=reviews.frame[["text", "label"]]), seed=3)
    assert with_column.fingerprint == without.fingerprint
    assert with_column.sentence == without.sentence


def reviews_of(values: list[str], role: str = "split") -> Reviews:
    reviews = labeled([n % 2 for n in range(len(values))], Classes(("bad", "good")))
    reviews.frame[role] = pd.Series(values, dtype="str")
    return reviews


@pytest.mark.parametrize(
    ("role", "values", "message"),
    [
        ("group", ["a"] * 50 + ["b"] * 50, "3 groups or more.*; it has 2"),
        ("time", ["2026-01-01"] * 99 + ["2026-01-02"], "3 different times or more.*; it has 2"),
        ("time", [*map(str, range(98)), "soon", ""], "numbers; 2 of 100 rows .* first 'soon'"),
        ("split", ["train"] * 90 + ["held out"] * 10, "10 of 100 rows .* the first 'held out'"),
        ("split", ["test"] * 50 + ["dev"] * 50, "rows with the value train; none has"),
        (
            "split",
            ["train" if n % 2 or n == 0 else "test" for n in range(100)],
            "enough different texts of each class for 2 parts",
        ),
        ("split", ["train"] * 100, "the test or the validation; it has train alone"),
        (
            "split",
            ["dev" if n % 2 else "train" for n in range(100)],
            "train split must have rows of each class; .*'made' it has no row of 'good'",
        ),
        (
            "split",
            ["train" if n % 2 or n < 70 else "test" for n in range(100)],
            "test split must have rows of two classes or more; .*'made' it has no row of 'good'",
        ),
    ],
)
def test_rows_that_can_not_be_split_are_refused(role: str, values: list[str], message: str) -> None:
    config = DataConfig(**{f"{role}_column": "made"})
    with pytest.raises(DataError, match=message):
        split_reviews(reviews_of(values, role), seed=0, config=config)


def test_numbers_and_dates_are_times() -> None:
    for values in (["9", "10", "8.5"] * 40, ["2026-01-09", "2026-01-10T08:00", "2026-01-08"] * 40):
        reviews = reviews_of(values, "time")
        frames = split_reviews(reviews, seed=0, config=DataConfig(time_column="made")).frames
        times = [{*frames[name]["time"]} for name in SPLITS]
        assert times == [{values[2]}, {values[0]}, {values[1]}]


def test_files_and_a_column_can_not_both_split() -> None:
    with pytest.raises(ArgumentError, match=r"(?=.*\bsplit_column\b)(?=.*'part')"):
        DataConfig(data="r.csv", test="t.csv", split_column="part")
