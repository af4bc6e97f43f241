"""The contract of every kind of split: parts, duplicates, seeds and order; and a kind of this test
alone, from a column of a file to the data card.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.texts import make_reviews
from tuning.atomic_io import read_json
from tuning.config import SPLITS, DataConfig, StudyConfig
from tuning.data.random_split import SHARES
from tuning.data.sources import Reviews
from tuning.data.splits import SPLIT_KINDS, distinct_codes
from tuning.documents import unstructure
from tuning.errors import ArgumentError
from tuning.inputs.data_card import CARD_NAME
from tuning.results import ResultsDir
from tuning.study.prepare import prepare_corpus
from tuning.targets.classes import MIN_TEXTS_PER_CLASS, Classes


class ByShop:
    """The first row with a text decides: its shop has the name of the split."""

    SENTENCE = "Each split has shops of its own."
    COLUMN = "shops"

    def assign(
        self, reviews: Reviews, texts: npt.NDArray[np.int64], *, seed: int
    ) -> npt.NDArray[np.int8]:
        shops = reviews.frame["split"].map(SPLITS.index).to_numpy(dtype=np.int8)
        return shops[np.unique(texts, return_index=True)[1]][texts]


TABLE = {**SPLIT_KINDS, "by_shop": ByShop()}
# The values of the column that a kind reads.
VALUES = {"by_shop": SPLITS}

NOISY = st.text(st.sampled_from("aAbBßẞé .,!-_'\t\n\xa0😀"), min_size=1, max_size=4)


@st.composite
def labeled(draw: st.DrawFn) -> pd.DataFrame:
    """Return texts, labels and numbers that choose a row's value of the column."""
    n_classes = draw(st.integers(2, 4))
    plain = [(f"text {n}", n % n_classes) for n in range(n_classes * MIN_TEXTS_PER_CLASS)]
    noisy = draw(st.lists(st.tuples(NOISY, st.integers(0, n_classes - 1)), max_size=40))
    rows = draw(st.permutations([*plain, *noisy]))
    frame = pd.DataFrame(rows, columns=["text", "label"])
    return frame.assign(value=[draw(st.integers(0, 9)) for _ in rows])


def reviews_of(frame: pd.DataFrame, kind: str) -> Reviews:
    frame = frame.astype({"label": np.int64}).reset_index(drop=True)
    if TABLE[kind].COLUMN:
        values = VALUES[kind]
        frame["split"] = [values[value % len(values)] for value in frame["value"]]
    names = tuple(f"c{n}" for n in range(frame["label"].max() + 1))
    return Reviews(frame.drop(columns="value"), Classes(names), "text", "label", {}, ())


def parts_of(reviews: Reviews, kind: str, *, seed: int) -> npt.NDArray[np.int8]:
    return TABLE[kind].assign(reviews, distinct_codes(reviews.frame["text"]), seed=seed)


every_kind = pytest.mark.parametrize("kind", TABLE)
contract = settings(derandomize=True, deadline=None, max_examples=40)
seeds = st.integers(0, 2**31 - 1)


@every_kind
@contract
@given(frame=labeled(), seed=seeds)
def test_every_row_is_in_one_part_and_no_text_in_two(
    kind: str, frame: pd.DataFrame, seed: int
) -> None:
    reviews = reviews_of(frame, kind)
    parts = parts_of(reviews, kind, seed=seed)
    assert (parts.dtype, parts.shape) == (np.int8, (len(frame),))
    assert set(parts) <= set(range(len(SPLITS)))
    of_text = pd.Series(parts).groupby(distinct_codes(reviews.frame["text"])).nunique()
    assert of_text.max() == 1


@every_kind
@contract
@given(frame=labeled(), seed=seeds, data=st.data())
def test_a_repeated_row_moves_no_other_row(
    kind: str, frame: pd.DataFrame, seed: int, data: st.DataObject
) -> None:
    """A row that occurs again, at any place after itself, changes no part. (Another order of the
    texts may: the seed draws from their numbers.)
    """
    row = data.draw(st.integers(0, len(frame) - 1))
    place = data.draw(st.integers(row + 1, len(frame)))
    repeated = pd.concat([frame[:place], frame[row : row + 1], frame[place:]])
    parts = parts_of(reviews_of(repeated, kind), kind, seed=seed)
    before = parts_of(reviews_of(frame, kind), kind, seed=seed)
    assert np.delete(parts, place).tolist() == before.tolist()
    assert parts[place] == before[row]


CHILD = """
import pandas as pd
from tests.data.test_split_kinds import parts_of, reviews_of
rows = [(f"text {n}", n % 3, n) for n in range(90)]
frame = pd.DataFrame(rows, columns=["text", "label", "value"])
print("".join(map(str, parts_of(reviews_of(frame, KIND), KIND, seed=7))))
"""


@every_kind
def test_a_seed_gives_the_same_parts_in_every_process(kind: str) -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", CHILD.replace("KIND", repr(kind))],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().strip()) == 90


@contract
@given(frame=labeled(), seed=seeds)
def test_the_random_split_has_70_15_15_of_the_texts(frame: pd.DataFrame, seed: int) -> None:
    reviews = reviews_of(frame, "random")
    texts = distinct_codes(reviews.frame["text"])
    parts = parts_of(reviews, "random", seed=seed)[np.unique(texts, return_index=True)[1]]
    for number, name in enumerate(SPLITS):
        assert abs((parts == number).sum() - SHARES[name] * len(parts)) <= 1


# The way of a kind from the settings to the data card


@pytest.fixture
def by_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyConfig:
    """Return a study whose file names the split of each row in the column `shop`."""
    monkeypatch.setitem(SPLIT_KINDS, "by_shop", TABLE["by_shop"])
    frame = make_reviews(100)
    frame["shop"] = ["test" if n < 10 else "validation" if n < 30 else "train" for n in range(100)]
    frame.to_csv(tmp_path / "reviews.csv", index=False)
    data = DataConfig(data=str(tmp_path / "reviews.csv"), split="by_shop", split_column="shop")
    return StudyConfig(study="s", data=data)


def test_a_kind_goes_from_a_column_to_the_data_card(by_shop: StudyConfig, tmp_path: Path) -> None:
    corpus, splits = prepare_corpus(by_shop, results=ResultsDir(tmp_path))
    assert {name: set(frame["split"]) for name, frame in splits.frames.items()} == {
        name: {name} for name in SPLITS
    }
    assert corpus.card.n_rows == {"train": 70, "validation": 20, "test": 10}
    assert corpus.card.split_rule == corpus.card.facts.split_rule == ByShop.SENTENCE


def test_only_a_kind_that_is_not_the_default_is_written(
    by_shop: StudyConfig, tmp_path: Path
) -> None:
    settings = {"split", "split_column"}
    assert unstructure(by_shop.data).keys() >= settings
    default = replace(by_shop, data=replace(by_shop.data, split="random", split_column=None))
    assert unstructure(default.data).keys().isdisjoint(settings)
    corpus, _ = prepare_corpus(default, results=ResultsDir(tmp_path))
    assert "split_rule" not in read_json(corpus.folder / CARD_NAME)


@pytest.mark.parametrize(
    ("changes", "parameter", "value"),
    [
        ({"split": "by_moon", "split_column": None}, "split", "by_moon"),
        ({"split_column": None}, "split_column", "by_shop"),
        ({"split": "random"}, "split_column", "random"),
    ],
)
def test_a_split_without_its_column_or_kind_is_refused(
    by_shop: StudyConfig, tmp_path: Path, changes: dict, parameter: str, value: str
) -> None:
    config = replace(by_shop, data=replace(by_shop.data, **changes))
    with pytest.raises(ArgumentError, match=rf"(?=.*\b{parameter}\b)(?=.*'{value}')"):
        prepare_corpus(config, results=ResultsDir(tmp_path))
