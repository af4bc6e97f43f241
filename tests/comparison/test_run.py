"""One call of `make compare`: the order of the spaces, their minutes, failures, and a whole
comparison that is killed and continued.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import create_trial

from tests.commands import Ran, start, wait_for
from tests.comparisons import progressed
from tests.studies import TINY_SPACE
from tests.texts import make_reviews, substituted
from tuning.comparison import run as running
from tuning.comparison import search as searching
from tuning.comparison.document import ComparedReference, Comparison, Request
from tuning.comparison.run import CompareHooks, compare
from tuning.comparison.standings import standing_of
from tuning.config import StudyConfig
from tuning.confirmation.rounds import Confirmation
from tuning.errors import ArgumentError, SpaceError, StorageError, StudyError
from tuning.outcomes import SearchEnd
from tuning.results import ResultsDir, StudyDir
from tuning.search.tune import Budget, TuneHooks
from tuning.study.summary import Summary

Run = Callable[..., Ran]
NAME = "compare-reviews"


class Clock:
    """A clock that only `tune` of the fakes below moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


class Searches:
    """Fakes of the data, the searches and the confirmations of a comparison.

    `tune` records each call; a search takes the seconds of its budget, unless its study is in
    `errors`, or in `stops`: the seconds after which the user interrupts it.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.calls: list[tuple[str, float]] = []
        self.errors: dict[str, Exception] = {}
        self.stops: dict[str, float] = {}
        self.n_references = 0
        self.n_trials: list[int] = []
        self.fingerprint = "0123456789ab"

    def prepare(self, config: StudyConfig, **options: Any) -> tuple[Any, Any]:
        return SimpleNamespace(fingerprint=self.fingerprint), None

    def references(self, corpus: Any, splits: Any) -> list[ComparedReference]:
        self.n_references += 1
        return [ComparedReference(name="linear", about="", accuracy=0.8, seconds=1.0)]

    def tune(
        self, config: StudyConfig, results: Any, *, budget: Budget, hooks: TuneHooks, **_: Any
    ) -> None:
        name, seconds = config.study.removeprefix(f"{NAME}-"), budget.timeout_seconds or 0.0
        assert budget.ends_paused
        self.calls.append((name, round(seconds, 2)))
        if name in self.errors:
            raise self.errors[name]
        self.clock.seconds += self.stops.get(name, seconds)
        hooks.on_change(progressed({0: [0.5, 0.75]}))
        ended = SearchEnd.INTERRUPTED if name in self.stops else SearchEnd.TIMEOUT
        summary = Summary.of(config.study, config.metric, [create_trial(value=0.75)])
        session: Any = SimpleNamespace(config=config, study=None, space=None)
        hooks.then(session, SimpleNamespace(ended=ended, summary=summary))  # type: ignore[arg-type]

    def set_n_trials(self, study: Any, n_trials: int) -> None:
        self.n_trials.append(n_trials)


BEST = create_trial(value=0.75)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> Searches:
    fakes = Searches()
    over = Confirmation("val_accuracy", [], 1.0, 1.0, [], is_over=True)
    for name, value in {
        "prepare_corpus": fakes.prepare,
        "linear_references": fakes.references,
        "tune": fakes.tune,
    }.items():
        monkeypatch.setattr(running, name, value)
    for name, value in {
        "set_n_trials": fakes.set_n_trials,
        "confirm_within": lambda *arguments, **options: over,
        "best_trial": lambda session, confirmation: BEST,
        "values_of": lambda trial, space: {},
        "measured_latency": lambda session, values: 1.5,
        "time": fakes.clock,
    }.items():
        monkeypatch.setattr(searching, name, value)
    return fakes


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    return ResultsDir(tmp_path / "results").study(NAME)


def call(folder: StudyDir, **request: Any) -> Comparison:
    results = ResultsDir(folder.path.parent)
    return compare(folder, Request(**request), results, storage_url="sqlite://")


TWO = ("baseline_lstm", "ngrams")


def test_every_space_gets_the_same_minutes(folder: StudyDir, searches: Searches) -> None:
    comparison = call(folder, spaces=TWO, minutes=2)
    assert searches.calls == [("baseline_lstm", 120.0), ("ngrams", 120.0)]
    assert comparison.unfinished == []
    assert searches.n_trials == [1, 1]
    assert comparison == Comparison.load(folder)
    assert [
        (space.seconds, space.curve, space.latency_ms, space.measured_trial)
        for space in comparison.spaces
    ] == [(120.0, [(120.0, 0.75)], 1.5, BEST.number)] * 2


def test_finished_comparison_searches_nothing_again(folder: StudyDir, searches: Searches) -> None:
    first = call(folder, spaces=TWO)
    assert call(folder) == first
    assert len(searches.calls) == 2
    assert searches.n_references == 1


def test_interrupted_space_goes_on_with_the_minutes_that_it_has_left(
    folder: StudyDir, searches: Searches
) -> None:
    searches.stops = {"baseline_lstm": 45.0}
    assert len(call(folder, spaces=TWO, minutes=2).unfinished) == 2
    searches.stops = {}
    assert not call(folder).unfinished
    assert searches.calls == [("baseline_lstm", 120.0), ("baseline_lstm", 75.0), ("ngrams", 120.0)]


def test_more_minutes_are_added_to_every_space(folder: StudyDir, searches: Searches) -> None:
    call(folder, spaces=TWO, minutes=2)
    comparison = call(folder, minutes=3)
    assert searches.calls[2:] == [("baseline_lstm", 60.0), ("ngrams", 60.0)]
    assert [space.seconds for space in comparison.spaces] == [180.0, 180.0]


def test_killed_confirmation_goes_on_without_a_search(folder: StudyDir, searches: Searches) -> None:
    comparison = call(folder, spaces=TWO, minutes=2)
    killed = replace(comparison.spaces[0], is_over=False, latency_ms=None)
    comparison.with_space(killed).save(folder)
    again = call(folder)
    assert searches.calls[2:] == [("baseline_lstm", 0.0)]
    assert again.spaces[0].seconds == 120.0
    assert again.spaces[0].is_over


@pytest.mark.parametrize("error", [SpaceError("no such layer"), StudyError("10 trials failed")])
def test_space_that_fails_is_named_and_the_others_go_on(
    error: Exception, folder: StudyDir, searches: Searches
) -> None:
    searches.errors = {"baseline_lstm": error}
    failed, good = call(folder, spaces=TWO).spaces
    assert (failed.failure, failed.is_over, good.is_over) == (str(error), False, True)
    searches.errors = {}
    mended, _ = call(folder).spaces
    assert (mended.failure, mended.is_over) == (None, True)
    assert [name for name, _ in searches.calls] == ["baseline_lstm", "ngrams", "baseline_lstm"]


def test_full_disk_stops_the_comparison(folder: StudyDir, searches: Searches) -> None:
    searches.errors = {"baseline_lstm": StorageError("no space")}
    with pytest.raises(StorageError, match="no space"):
        call(folder, spaces=TWO)
    assert len(searches.calls) == 1


def test_other_data_are_refused_before_a_search(folder: StudyDir, searches: Searches) -> None:
    call(folder, spaces=TWO)
    searches.fingerprint = "ffff"
    with pytest.raises(StudyError, match=r"compare-reviews.*0123456789ab.*ffff"):
        call(folder, spaces=TWO, minutes=20)
    assert len(searches.calls) == 2
    assert Comparison.load(folder).minutes == 10


def test_wrong_seed_leaves_no_folder(folder: StudyDir, searches: Searches) -> None:
    with pytest.raises(ArgumentError, match="seed must lie in"):
        call(folder, spaces=TWO, seed=-1)
    assert not folder.path.parent.exists()


def test_hooks_are_called_after_each_space(folder: StudyDir, searches: Searches) -> None:
    lines: list[str] = []
    n_over: list[int] = []
    hooks = CompareHooks(
        on_line=lines.append,
        on_change=lambda comparison: n_over.append(2 - len(comparison.unfinished)),
    )
    results = ResultsDir(folder.path.parent)
    compare(folder, Request(spaces=TWO), results, storage_url="sqlite://", hooks=hooks)
    assert n_over == [1, 2]
    assert lines[0] == "linear has 0.8000 validation accuracy: a bar for every space."
    assert lines[2].startswith("ngrams, space 2 of 2: searching until 10 min are over")


def spaces_of(tmp_path: Path) -> tuple[Path, str]:
    """Write the data and three spaces, of which one fails; return the path of the data, and the
    spaces as a value of --spaces.
    """
    data = tmp_path / "reviews.csv"
    make_reviews().to_csv(data, index=False)
    build = "        return lstm_classifier("
    sources = {
        "small": TINY_SPACE,
        "broken": substituted(
            TINY_SPACE, build, f"        raise RuntimeError('no such layer')\n{build}"
        ),
        "large": substituted(
            TINY_SPACE, '"lstm_units", 2, 4, default=2', '"lstm_units", 6, 9, default=8'
        ),
    }
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    return data, " ".join(str(tmp_path / f"{name}.py") for name in sources)


@pytest.mark.journey
def test_killed_comparison_goes_on_and_writes_its_page(run_cli: Run, tmp_path: Path) -> None:
    data, spaces = spaces_of(tmp_path)
    results = ResultsDir(tmp_path / "results")
    flags = ["--spaces", spaces, "--data", str(data), "--minutes", "0.5", "--workers", "2"]
    command = [sys.executable, "-m", "tuning", "compare", *flags, "--results", str(results.path)]
    process = start(command)
    wait_for(process, "small: trial 1 ")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    folder = results.study(NAME)
    killed = Comparison.load(folder)
    assert not any(space.is_searched for space in killed.spaces)
    ran = run_cli("compare", "--data", data, "--workers", 2)
    assert ran.code == 0, ran.err
    comparison = Comparison.load(folder)
    small, broken, large = comparison.spaces
    assert small.is_over and large.is_over
    assert broken.failure is not None and "no such layer" in broken.failure
    assert killed.spaces[0].seconds <= small.seconds < 90
    url = results.storage_url(None)
    standings = [standing_of(space, results, storage_url=url) for space in (small, large)]
    assert all(
        standing.accuracy is not None and standing.latency_ms is not None for standing in standings
    )
    assert len({tuple(sorted(standing.repeats)[:3]) for standing in standings}) == 1
    page = folder.comparison_page_path.read_text(encoding="utf-8")
    assert "<b>broken</b> failed: " in page and "no such layer" in page
    assert not results.study(small.study).test_path.exists()
    assert run_cli("report", "--study", small.study).code == 0
