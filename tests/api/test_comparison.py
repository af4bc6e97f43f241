"""A comparison of search spaces as a Python object, with fakes in place of the searches."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tuning
from tests.comparisons import comparison_of, standings, unconfirmed
from tests.texts import make_reviews
from tuning.api import trainings
from tuning.comparison.document import Comparison as Document
from tuning.comparison.document import Request
from tuning.comparison.run import CompareHooks
from tuning.config import Data
from tuning.errors import ArgumentError, SpaceError, StudyError, TrackerError
from tuning.results import ResultsDir, StudyDir


class Calls:
    """A fake of `tuning.comparison.run.compare` that records its calls."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.hooks: list[CompareHooks] = []
        self.names: list[str] = []

    def compare(
        self, folder: StudyDir, request: Request, results: ResultsDir, **options: Any
    ) -> Document:
        self.requests.append(request)
        self.hooks.append(options["hooks"])
        self.names.append(folder.name)
        comparison = comparison_of([])
        comparison.save(folder)
        return comparison


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    monkeypatch.chdir(tmp_path)
    made = Calls()
    monkeypatch.setattr("tuning.comparison.run.compare", made.compare)
    return made


def small(hp: Any) -> Any:
    raise NotImplementedError


class Large:
    def build(self, hp: Any) -> Any:
        raise NotImplementedError


def test_frame_and_hypermodels_become_files(calls: Calls) -> None:
    reviews = make_reviews(80).rename(columns={"review_body": "body"})
    comparison = tuning.compare(
        [small, Large, "ngrams"], Data(reviews, text_column="body"), minutes=2, seed=3
    )
    (request,) = calls.requests
    names = [Path(space).name.rpartition("-")[0] for space in request.spaces[:2]]
    assert names == ["small", "Large"]
    folder = comparison.page.parent.absolute()
    assert [Path(space).parent for space in request.spaces[:2]] == [folder, folder]
    assert (request.spaces[2], request.minutes, request.seed) == ("ngrams", 2, 3)
    assert request.data["text_column"] == "body"
    assert len(pd.read_parquet(request.data["data"])) == 80
    assert comparison.name == f"compare-{Path(request.data['data']).stem}"


def test_same_call_continues_the_comparison_and_lists_are_data(calls: Calls) -> None:
    reviews = make_reviews(80)
    texts, labels = reviews["review_body"].tolist(), reviews["star_rating"].tolist()
    first = tuning.compare(["ngrams", "cnn"], Data(texts=texts, labels=labels))
    second = tuning.compare(data=Data(texts=texts, labels=labels))
    assert first.name == second.name
    assert calls.requests[1].spaces == []


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"spaces": ["ngrams", "ngrams"]}, ArgumentError, ["spaces must name", "'ngrams' twice"]),
        ({"spaces": ["ngrams", "none"]}, SpaceError, ["none"]),
        ({"spaces": ["ngrams", 7]}, SpaceError, ["a class or a function build(hp)", "received 7"]),
        ({"minutes": -1}, ArgumentError, ["minutes must be more than 0", "-1"]),
        ({"spaces": small}, ArgumentError, ["spaces must be a list", "function small"]),
        ({"workers": 0}, ArgumentError, ["workers must be 1 or more", "0"]),
        ({"data": Data(texts=["a"], labels=[])}, ArgumentError, ["same length", "0 labels"]),
        ({"log_to": "tensorboard:runs"}, ArgumentError, ["log_to must be a list"]),
        ({"log_to": ["abacus:runs"]}, ArgumentError, ["abacus"]),
    ],
)
def test_wrong_argument_is_named_before_anything_is_searched(
    arguments: dict[str, Any],
    error: type[Exception],
    words: list[str],
    calls: Calls,
) -> None:
    with pytest.raises(error) as raised:
        tuning.compare(**{"spaces": ["ngrams", "cnn"], "data": "reviews.csv", **arguments})
    assert all(word in str(raised.value) for word in words), raised.value
    assert calls.requests == []


def test_comparison_of_one_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="spaces must name 2 search spaces or more"):
        tuning.compare(["ngrams"], results=tmp_path)


def test_trackers_follow_the_search_of_each_space(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[object] = []

    @contextlib.contextmanager
    def following(log_to: list[str], folder: StudyDir) -> Iterator[Callable[[str], str]]:
        steps.append((log_to, folder.name))
        yield lambda hooks: f"{hooks} and trackers"
        steps.append("left")

    monkeypatch.setattr(trainings, "following", following)
    monkeypatch.setattr(trainings, "require_trackers", lambda log_to: None)
    tuning.compare(["ngrams", "cnn"], "reviews.csv", log_to=["tensorboard:runs"])
    search = calls.hooks[0].follow("compare-reviews-cnn", lambda *, hooks: steps.append(hooks))
    search(hooks="hooks")
    study = (["tensorboard:runs"], "compare-reviews-cnn")
    assert steps == [study, "hooks and trackers", "left"]


def test_missing_package_of_a_tracker_is_named_before_the_search(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.trackers.targets.find_spec", lambda name: None)
    with pytest.raises(TrackerError, match="mlflow"):
        tuning.compare(["ngrams", "cnn"], "reviews.csv", log_to=["mlflow:runs"])
    assert calls.requests == []


@pytest.fixture
def comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuning.Comparison:
    """Return a comparison of six spaces, of which one is not confirmed."""
    results = ResultsDir(tmp_path)
    entries = [unconfirmed("gru"), *standings()]
    comparison_of(entries).save(results.study("compare-reviews"))
    for entry in entries[1:]:
        folder = results.study(entry.space.study)
        folder.path.mkdir(parents=True)
        folder.config_path.write_text("{}")
    monkeypatch.setattr("tuning.comparison.page.read_standings", lambda *_, **__: entries)
    return tuning.load_comparison("compare-reviews", results=tmp_path)


def test_spaces_are_a_data_frame_with_the_best_first(comparison: tuning.Comparison) -> None:
    frame = comparison.spaces_dataframe()
    assert frame["space"].tolist() == [
        *("wide_deep", "reviews", "cnn", "masked_lstm", "baseline_lstm", "gru")
    ]
    best = frame.iloc[0]
    assert best["low"] < best["accuracy"] < best["high"]
    assert (best["state"], best["n_parameters"], best["latency_ms"]) == ("", 2_871_554, 1.9)
    assert frame["state"].iloc[-1] != ""
    assert pd.isna(frame["accuracy"].iloc[-1])


def test_best_is_the_study_with_the_best_mean(comparison: tuning.Comparison) -> None:
    assert comparison.best is not None
    assert comparison.best.name == "compare-reviews-wide_deep"
    assert set(comparison.studies) == {
        *("wide_deep", "reviews", "cnn", "masked_lstm", "baseline_lstm")
    }
    assert not comparison.is_over
    assert comparison.page.name == "comparison.html"


def test_notebook_shows_what_to_choose_and_the_spaces(comparison: tuning.Comparison) -> None:
    page = comparison._repr_html_()
    assert page.startswith("<p><b>compare-reviews</b></p>\n<p>Choose ")
    assert "wide_deep has the best mean" in comparison.verdict()
    assert "<table" in page
    assert not re.search(r"NaN|None|NA\b|e\+06", page)
    assert repr(comparison).startswith("Comparison('compare-reviews', ")


@pytest.mark.parametrize("name", ["compare-none", "compare-reviews-cnn"])
def test_name_that_is_no_comparison_is_refused(
    name: str, comparison: tuning.Comparison, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=f"which has compare-reviews; received '{name}'"):
        tuning.load_comparison(name, results=tmp_path)
