"""Data of a call from Python, as a file in the study's folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from tests.texts import make_reviews
from tuning.api.inputs import frame_of, frame_of_lists, source_of
from tuning.config import Data, DataConfig
from tuning.data.sources import load_reviews
from tuning.data.tables import read_files
from tuning.errors import ArgumentError, DataError
from tuning.results import StudyDir
from tuning.targets.labels import MultiLabel


def test_frame_is_read_back_as_the_same_reviews(tmp_path: Path) -> None:
    reviews = make_reviews()
    csv = tmp_path / "reviews.csv"
    reviews.to_csv(csv, index=False)
    path = frame_of(reviews).write(StudyDir(tmp_path / "s"))
    assert path.parent == tmp_path / "s"
    of_file, of_frame = (load_reviews(DataConfig(data=str(data))) for data in (csv, path))
    pd.testing.assert_frame_equal(of_file.frame, of_frame.frame)
    assert of_file.target == of_frame.target


@pytest.mark.parametrize("dtype", ["int8", "float64", "Int64"])
def test_same_rows_give_the_same_file_whatever_the_dtype_and_the_index(dtype: str) -> None:
    reviews = make_reviews()
    other = reviews.astype({"review_body": object, "star_rating": dtype})
    other.attrs["source"] = "shop"
    moved = other.set_axis(range(5, 5 + len(reviews)))
    assert frame_of(reviews).stem == frame_of(moved).stem
    assert frame_of(reviews).stem != frame_of(reviews.iloc[:-1]).stem


def test_drop_stars_may_be_none() -> None:
    assert source_of(Data("x.csv", drop_stars=None)).settings == {}  # type: ignore[arg-type]


def test_columns_may_be_numbers(tmp_path: Path) -> None:
    """As `pd.read_csv(header=None)` names them."""
    reviews = make_reviews()
    numbered = reviews[["review_body", "star_rating"]].set_axis([0, 1], axis=1)
    frame = source_of(Data(numbered, text_column=0, label_column=1)).frame  # type: ignore[arg-type]
    assert frame
    assert frame.stem == frame_of(numbered, text_column="0", label_column="1").stem
    assert {*pd.read_parquet(frame.write(StudyDir(tmp_path / "s")))} == {"0", "1"}


def test_column_that_splits_the_rows_may_have_a_dot_in_its_name(tmp_path: Path) -> None:
    """As `pd.json_normalize` names it."""
    reviews = make_reviews().assign(**{"user.id": "u", "user.name": "n"})
    path = frame_of(reviews, group_column="user.id").write(StudyDir(tmp_path / "s"))
    assert {*pd.read_parquet(path)} & {"user.id", "user.name"} == {"user.id"}
    assert "group" in load_reviews(DataConfig(data=str(path), group_column="user.id")).frame


@pytest.mark.parametrize(
    "names",
    [["text", "label", "label"], ["text", "text", "label"], ["text", "label", "g", "g"]],
)
def test_two_columns_of_one_name_are_refused(names: list[str]) -> None:
    with pytest.raises(DataError, match="columns with different names"):
        frame_of(
            pd.DataFrame([["good", "bad", "x", "y"][: len(names)]], columns=names),
            group_column="g" if "g" in names else None,
        )
    with pytest.raises(DataError, match="columns with different names"):
        frame_of(make_reviews(), text_column="review_body", label_column="review_body")


def test_other_columns_are_kept_and_do_not_change_the_name(tmp_path: Path) -> None:
    reviews = make_reviews()
    more = reviews.assign(
        product=["phone", "cable"] * 120,
        size=pd.cut(pd.Series(range(240)), 2).astype(object),
        large=2**70,
        note=[{"a": {}}] * len(reviews),
        day=pd.Timestamp(0),
        html="<p>" * 50,
    )
    more["review_body.length"] = 3  # The reader takes a dot for a part of another column.
    more[3] = 1.5  # A name that is no text becomes one.
    more = pd.concat([more, more[["day"]]], axis=1)  # Two columns of one name.
    more["missing"] = [None, 1.5] * 120
    frame = frame_of(more)
    assert frame.stem == frame_of(reviews).stem
    path = frame.write(StudyDir(tmp_path / "s"))
    kept = {"review_body", "star_rating", "product", "size", "large", "note", "missing", "3"}
    assert {*pd.read_parquet(path)} == kept
    for column, values in {"product": {"phone", "cable"}, "missing": {"", "1.5"}}.items():
        sliced = load_reviews(DataConfig(data=str(path)), slice_column=column)
        assert set(sliced.frame["slice"]) == values


def test_column_that_comes_later_is_added_and_stays(tmp_path: Path) -> None:
    folder, reviews = StudyDir(tmp_path / "s"), make_reviews()
    frame_of(reviews).write(folder)
    for product in ("phone", "cable"):  # The second value corrects the first one.
        path = frame_of(reviews.assign(product=product)).write(folder)
        assert frame_of(reviews).write(folder) == path
        assert set(pd.read_parquet(path)["product"]) == {product}


def test_texts_that_are_none_are_accepted() -> None:
    assert frame_of(pd.DataFrame({"text": ["good", None], "label": [1, 0]}))


@pytest.mark.parametrize(
    ("texts", "labels", "says"),
    [
        (["good", 3], [1, 0], "must have texts; it has 3"),
        (["good", "bad"], ["positive", 0], "all texts or all numbers"),
        (["good", "bad"], [["pos"], []], "'label' must have one label a text; .*argmax .*'labels'"),
        (["good", "bad"], [{"pos": 1}] * 2, "'label' must have one label a text; it has"),
    ],
)
def test_columns_that_are_no_texts_or_no_labels_are_refused(
    texts: list[Any], labels: Any, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        frame_of(pd.DataFrame({"text": texts, "label": labels}))


@pytest.mark.parametrize(
    ("texts", "labels", "says"),
    [
        (["a", "b"], [1], "2 texts and 1 labels"),
        (["a"], None, "1 texts and no labels"),
        (None, [1], "no texts and 1 labels"),
        (["a", "b"], np.eye(2), r"labels must have one value.*\(2, 2\)"),
        (pd.DataFrame({"text": ["a"]}), [1], "texts must .* one column of texts, which"),
        ("ab", [1, 0], "texts must be a list .* received a str"),
        (["a", "b"], {1: 0, 2: 1}, "labels must be a list .* received a dict"),
    ],
)
def test_texts_and_labels_that_are_no_rows_are_refused(texts: Any, labels: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        frame_of_lists(texts, labels)


def test_series_in_another_order_are_refused() -> None:
    texts, labels = pd.Series([*"abc"], index=[4, 7, 9]), pd.Series([0, 1, 0], index=[9, 7, 4])
    with pytest.raises(ArgumentError, match=r"same order.*labels\.loc\[texts\.index\]"):
        frame_of_lists(texts, labels)
    assert frame_of_lists(texts, labels.loc[texts.index])["label"].tolist() == [0, 1, 0]
    # Labels without the index of the texts, as of an encoder, are in their order.
    assert frame_of_lists(texts, pd.Series([1, 2, 3]))["label"].tolist() == [1, 2, 3]


def test_periods_and_intervals_are_labels_by_their_names(tmp_path: Path) -> None:
    days = pd.Series(pd.to_datetime(["2026-01-05", "2026-05-09", None]))
    for labels, first in ((days.dt.to_period("Q"), "2026Q1"), (pd.cut([1, 5, 9], 3), "(0.992, 3")):
        frame = frame_of(pd.DataFrame({"text": [*"abc"], "label": labels}))
        read = pd.read_parquet(frame.write(StudyDir(tmp_path / first)))["label"]
        assert read[0].startswith(first) and read.isna().sum() == pd.Series(labels).isna().sum()


def test_texts_with_lone_surrogates_are_written(tmp_path: Path) -> None:
    """JSON may contain half of an emoji; the readers of files put a question mark there."""
    frame = pd.DataFrame(
        {
            "text": pd.Series(["good \ud83d", "bad"], dtype=object),
            "label": pd.Series(["\ud83d", "b"], dtype=object),
            "note": pd.Series(["\ud83d", None], dtype=object),
        }
    )
    for given in (frame, frame_of_lists([*frame["text"]], [*frame["label"]])):
        read = pd.read_parquet(frame_of(given).write(StudyDir(tmp_path / f"s{given.shape[1]}")))
        assert (read["text"][0], read["label"][0]) == ("good ?", "?")


def test_lists_may_be_iterators() -> None:
    frame = frame_of_lists((text for text in "ab"), iter([0, 1]))  # type: ignore[arg-type]
    assert frame["text"].to_list() == ["a", "b"]


@pytest.mark.parametrize(
    "labels", [np.array([[1.5], [2]]), pd.DataFrame({"a": [1.5, 2]}), [[1.5], [2]], [(1.5,), (2,)]]
)
def test_labels_of_one_column_are_one_for_each_text(labels: Any) -> None:
    assert frame_of_lists(["a", "b"], labels, kind="number")["label"].tolist() == [1.5, 2]


def test_columns_that_split_the_rows_are_part_of_the_name_and_are_kept(tmp_path: Path) -> None:
    """Another column of groups makes another file, so that it does not change a study's data."""
    frame = make_reviews()
    first = frame.assign(url=[f"{'x' * 150}{row % 20}" for row in range(len(frame))])
    second = frame.assign(url=first["url"].iloc[::-1].to_numpy())
    paths = {
        Path(source_of(Data(each, group_column="url")).write(StudyDir(tmp_path / "s"))["data"])
        for each in (first, second, first.copy())
    }
    assert len(paths) == 2
    groups = load_reviews(DataConfig(data=str(sorted(paths)[0]), group_column="url"))
    assert groups.frame["group"].nunique() == 20
    without = source_of(Data(first)).write(StudyDir(tmp_path / "s"))["data"]
    assert without == str(frame_of(frame).write(StudyDir(tmp_path / "s")))


def test_a_frame_is_no_file_of_a_split() -> None:
    with pytest.raises(ArgumentError, match=r"\btest must be the path .*split_column"):
        source_of(Data("reviews.csv", test=make_reviews()))


def test_frame_with_attributes_is_written(tmp_path: Path) -> None:
    reviews = make_reviews()
    reviews.attrs["made_at"] = object()
    assert frame_of(reviews).write(StudyDir(tmp_path)).exists()


SETS = [["a", "b"], [], ["b"]]
MATRIX = np.array([[1, 1], [0, 0], [0, 1]])


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        (pd.DataFrame({"text": [*"xyzw"], "tags": [*SETS, np.nan]}), "tags"),
        (pd.DataFrame({"text": ["x", "y", "z"], "a": MATRIX[:, 0], "b": MATRIX[:, 1]}), "a,b"),
        (
            pd.DataFrame({"text": ["x", "y", "z"]}).join(
                pd.DataFrame.sparse.from_spmatrix(scipy.sparse.csr_matrix(MATRIX), columns=[*"ab"])
            ),
            "a,b",
        ),
        (frame_of_lists(["x", "y", "z"], SETS, kind="labels"), "label"),
        (frame_of_lists(["x", "y", "z"], [{"b", "a"}, (), {"b"}], kind="labels"), "label"),
        (
            frame_of_lists(
                ["x", "y", "z"], pd.DataFrame(MATRIX, columns=["a", "b"]), kind="labels"
            ),  # type: ignore[arg-type]
            "label",
        ),
    ],
)
def test_several_labels_of_a_text_are_read_as_they_were_given(
    data: pd.DataFrame, columns: str, tmp_path: Path
) -> None:
    path = frame_of(data, label_column=columns, kind="labels").write(StudyDir(tmp_path / "s"))
    names = columns.split(",")
    values = read_files(str(path)).frame[names if len(names) > 1 else names[0]]
    read = MultiLabel.read(values, column=columns, config=DataConfig(kind="labels"))
    assert read.target.names == ("a", "b") and read.labels[:3].tolist() == MATRIX.tolist()


@pytest.mark.parametrize("kind", [list, tuple, pd.Index, lambda names: np.array(names, object)])
def test_columns_of_several_labels_may_be_a_list(kind: Callable[[Any], Any]) -> None:
    data = pd.DataFrame({"text": ["x", "y"], "a": [0, 1], 3: [1, 0], "b,c": [1, 1]})
    of_list, of_text = (
        source_of(Data(data, label_column=columns, kind="labels"))
        for columns in (kind(["a", 3]), "a,3")
    )
    assert of_list == of_text
    with pytest.raises(ArgumentError, match="names without commas; rename 'b,c'"):
        source_of(Data(data, label_column=kind(["a", "b,c"]), kind="labels"))


def test_a_column_may_have_a_tuple_for_a_name() -> None:
    data = pd.DataFrame([["good", 1], ["bad", 0]], columns=pd.Index(["text", ("a", "b")]))
    assert source_of(Data(data, label_column=("a", "b"))).settings["label_column"] == "('a', 'b')"


@pytest.mark.parametrize("kind", [np.array, scipy.sparse.csr_matrix, scipy.sparse.csr_array])
def test_columns_of_several_labels_without_names_are_numbered(kind: Callable[[Any], Any]) -> None:
    frame = frame_of_lists(["x", "y", "z"], kind(MATRIX), kind="labels")
    assert frame["label"].tolist() == ['["label_0", "label_1"]', "[]", '["label_1"]']
    for wrong in (MATRIX * 2, pd.DataFrame(MATRIX, dtype="Int64").where(MATRIX == 1)):
        with pytest.raises(ArgumentError, match="values 0 and 1"):
            frame_of_lists(["x", "y", "z"], wrong, kind="labels")


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ArgumentError, match="kind must be one of"):
        source_of(Data(texts=["x"], labels=["a"], kind="label"))


def test_a_column_that_the_frame_lacks_is_refused() -> None:
    with pytest.raises(DataError, match=r"group_column must be one of .*; received 'vendor'"):
        source_of(Data(make_reviews(), group_column="vendor"))
