"""From a column of stars, numbers or words to classes."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.data.sources import MAX_CLASSES, Labels, to_classes
from tuning.errors import DataError


def classes(
    values: list[object],
    column: str = "label",
    *,
    positive_from: float = 3.0,
    drop_stars: tuple[float, ...] = (),
) -> Labels:
    return to_classes(
        pd.Series(values), column=column, positive_from=positive_from, drop_stars=drop_stars
    )


def refusal(
    values: list[object],
    column: str = "label",
    *,
    positive_from: float = 3.0,
    drop_stars: tuple[float, ...] = (),
) -> str:
    with pytest.raises(DataError) as error:
        classes(values, column, positive_from=positive_from, drop_stars=drop_stars)
    return str(error.value)


STARS: list[object] = ["1", "2", "3", "4", "5"]


# Stars


def test_stars_from_three_are_positive() -> None:
    labels = classes(STARS, "star_rating")
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
    message = refusal(STARS, "stars", positive_from=positive_from)
    assert message.startswith(
        "A label column must hold 2 to 100 classes; 'stars' holds 1 class after the star rule."
    )


def test_dropping_all_negative_stars_is_refused() -> None:
    assert "'stars' holds 1 class after the star rule" in refusal(
        STARS, "stars", drop_stars=(1.0, 2.0)
    )


def test_star_column_beyond_five_is_no_star_column() -> None:
    assert classes(["1", "5", "10"], "rating").class_names == ("1", "5", "10")


def test_star_column_of_words_is_no_star_column() -> None:
    assert classes(["good", "bad"], "rating").class_names == ("bad", "good")


def test_numbers_in_another_column_are_classes() -> None:
    assert classes(STARS, "topic").class_names == ("1", "2", "3", "4", "5")


# Numbers and words


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


# Missing labels


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


def test_nothing_dropped_is_not_reported() -> None:
    assert classes(["a", "b"]).dropped == {}


def test_minus_one_beside_zero_and_one_is_no_label() -> None:
    labels = classes(["-1", "0", "1", "-1"])
    assert (labels.codes.tolist(), labels.class_names) == ([-1, 0, 1, -1], ("negative", "positive"))
    assert labels.dropped == {"without a label": 2}


def test_minus_one_and_missing_labels_are_counted_together() -> None:
    assert classes(["-1", "0", "1", ""]).dropped == {"without a label": 2}


def test_minus_one_beside_other_numbers_is_a_class() -> None:
    assert classes(["-1", "0", "1", "2"]).class_names == ("-1", "0", "1", "2")


def test_minus_one_and_one_are_two_classes() -> None:
    assert classes(["-1", "1", "-1"]).codes.tolist() == [0, 1, 0]


# Too few, too many


@pytest.mark.parametrize("values", [["a", "a"], ["1", "1"], ["a", "", None]])
def test_one_class_is_refused(values: list[object]) -> None:
    message = refusal(values, "sentiment")
    assert (
        message
        == "A label column must hold 2 to 100 classes; 'sentiment' holds 1 class. Choose another"
        " with --label-column."
    )


@pytest.mark.parametrize("values", [["", ""], [None, None], []])
def test_no_class_is_refused(values: list[object]) -> None:
    assert "'label' holds 0 classes" in refusal(values)


def test_hundred_classes_are_taken() -> None:
    assert len(classes([f"c{n:03d}" for n in range(MAX_CLASSES)]).class_names) == 100


@pytest.mark.parametrize("prefix", ["c", ""])
def test_more_than_a_hundred_classes_are_refused(prefix: str) -> None:
    message = refusal([f"{prefix}{n}" for n in range(MAX_CLASSES + 1)], "review_id")
    assert message.startswith(
        "A label column must hold 2 to 100 classes; 'review_id' holds 101 different values."
    )


@pytest.mark.parametrize("rule", [{"positive_from": 4.0}, {"drop_stars": (3.0,)}])
def test_star_rule_for_a_column_without_stars_is_refused(rule: dict) -> None:
    with pytest.raises(DataError, match="need a column of stars"):
        to_classes(pd.Series(["0", "1", "0"]), column="label", **rule)


def test_words_for_missing_in_a_column_of_numbers_are_counted() -> None:
    labels = to_classes(pd.Series(["5", "NA", "1", "nan"]), column="star_rating")
    assert (labels.codes.tolist(), labels.dropped) == ([1, -1, 0, -1], {"without a label": 2})


def test_words_for_missing_in_a_column_of_words_are_classes() -> None:
    assert to_classes(pd.Series(["NA", "EU", "NA"]), column="region").class_names == ("EU", "NA")
