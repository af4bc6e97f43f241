"""The document of a comparison: begun, continued, refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.comparisons import comparison_of, standings
from tuning.atomic_io import write_json
from tuning.comparison.document import ComparedSpace, Comparison, Request, begin, on_data
from tuning.config import DataConfig, StudyConfig
from tuning.errors import ArgumentError, SpaceError, StudyError, TuningError
from tuning.results import ResultsDir, StudyDir

TWO = ("baseline_lstm", "ngrams")


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    return ResultsDir(tmp_path).study("compare-reviews")


def test_new_comparison_has_a_study_for_each_space(folder: StudyDir) -> None:
    comparison = begin(folder, Request(spaces=TWO, data={"data": "reviews.csv"}))
    assert [space.study for space in comparison.spaces] == [
        "compare-reviews-baseline_lstm",
        "compare-reviews-ngrams",
    ]
    assert (comparison.minutes, comparison.seed, comparison.data) == (
        10.0,
        0,
        DataConfig(data="reviews.csv"),
    )
    assert comparison.config_of(comparison.spaces[1]) == StudyConfig(
        study="compare-reviews-ngrams", space="ngrams", data=DataConfig(data="reviews.csv")
    )
    assert not folder.path.exists()


def test_document_is_read_as_it_was_written(folder: StudyDir) -> None:
    comparison = comparison_of(standings())
    comparison.save(folder)
    assert Comparison.load(folder) == comparison


def test_space_keeps_each_improvement_and_the_time() -> None:
    space = ComparedSpace(space="cnn", study="s")
    for seconds, best in ((5.0, None), (10.0, 0.7), (12.0, 0.6), (15.0, 0.8), (20.0, None)):
        space = space.at(seconds, best)
    assert (space.seconds, space.curve) == (20.0, [(10.0, 0.7), (15.0, 0.8)])


def test_call_without_flags_continues_the_comparison(folder: StudyDir) -> None:
    comparison = comparison_of(standings())
    comparison.save(folder)
    assert begin(folder, Request()) == comparison
    assert begin(folder, Request(spaces=("baseline_lstm",), minutes=10, seed=0)) == comparison


def test_more_minutes_open_finished_spaces_again(folder: StudyDir) -> None:
    comparison_of(standings()).save(folder)
    comparison = begin(folder, Request(minutes=20))
    assert len(comparison.unfinished) == 5
    assert comparison.unfinished[0].seconds == 600.0


def test_further_spaces_are_added(folder: StudyDir) -> None:
    comparison_of(standings()).save(folder)
    comparison = begin(folder, Request(spaces=("baseline_lstm", "ngrams")))
    assert [space.name for space in comparison.spaces][-2:] == ["reviews", "ngrams"]
    assert [space.name for space in comparison.unfinished] == ["ngrams"]


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"spaces": ("ngrams", "ngrams")}, ArgumentError, "once; received 'ngrams' twice"),
        ({"spaces": ("ngrams", "nothing")}, SpaceError, "--spaces must be one of .*'nothing'"),
        ({"minutes": 0.0}, ArgumentError, "--minutes must be more than 0; received 0"),
        ({"minutes": float("nan")}, ArgumentError, "--minutes must be more than 0; received nan"),
    ],
)
def test_request_is_refused(values: dict[str, Any], error: type[TuningError], words: str) -> None:
    with pytest.raises(error, match=words):
        Request(**values)


@pytest.mark.parametrize(
    ("spaces", "words"), [((), "received 'none'"), (("ngrams",), "received 'ngrams'")]
)
def test_comparison_needs_two_spaces(folder: StudyDir, spaces: tuple[str, ...], words: str) -> None:
    with pytest.raises(ArgumentError, match=f"--spaces must name 2 search spaces.*{words}"):
        begin(folder, Request(spaces=spaces))


def test_fewer_minutes_than_the_searches_have_had_are_refused(folder: StudyDir) -> None:
    comparison_of(standings()).save(folder)
    with pytest.raises(ArgumentError, match=r"--minutes must be 10 or more.*received 5"):
        begin(folder, Request(minutes=5))


def test_other_epochs_are_refused(folder: StudyDir) -> None:
    spaces = ("baseline_lstm", "ngrams")
    comparison = begin(folder, Request(spaces=spaces, epochs=9))
    assert {comparison.config_of(space).train.epochs for space in comparison.spaces} == {9}
    comparison.save(folder)
    with pytest.raises(StudyError, match="epochs it was created with, 9; received 5"):
        begin(folder, Request(epochs=5))
    assert begin(folder, Request(minutes=20)).epochs == 9
    with pytest.raises(ArgumentError, match="--epochs must be 1 or more"):
        Request(epochs=0)


def test_another_seed_is_refused(folder: StudyDir) -> None:
    comparison_of(standings()).save(folder)
    with pytest.raises(StudyError, match="seed it was created with, 0; received 1"):
        begin(folder, Request(seed=1))


def test_name_of_a_study_is_refused(folder: StudyDir) -> None:
    write_json(folder.config_path, {})
    with pytest.raises(StudyError, match="'compare-reviews' is a study"):
        begin(folder, Request(spaces=TWO))


def test_other_data_are_refused() -> None:
    comparison = replace(comparison_of(standings()), data_fingerprint="")
    known = on_data(comparison, "0123456789ab", name="c")
    assert on_data(known, "0123456789ab", name="c") == known
    with pytest.raises(StudyError, match=r"'c' must be continued on its data.*0123456789ab.*ffff"):
        on_data(known, "ffff", name="c")


def test_broken_document_names_the_wrong_value(folder: StudyDir) -> None:
    write_json(folder.comparison_path, {"minutes": "ten"})
    with pytest.raises(StudyError, match=r"comparison\.json must be .*make compare"):
        Comparison.load(folder)


def test_failed_space_that_a_call_does_not_name_any_more_is_given_up(tmp_path: Path) -> None:
    """A hypermodel of a notebook that was corrected is another space."""
    folder = ResultsDir(tmp_path).study("c")
    started = begin(folder, Request(spaces=["ngrams", "cnn"]))
    failed = replace(started.spaces[0], failure="RuntimeError")
    started.with_space(failed).save(folder)
    assert [space.space for space in begin(folder, Request()).spaces] == ["ngrams", "cnn"]
    again = begin(folder, Request(spaces=["cnn", "gru"]))
    assert [space.space for space in again.spaces] == ["cnn", "gru"]
