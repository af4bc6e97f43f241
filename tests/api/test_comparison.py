"""Comparisons of search spaces: the loop over the searches, and their results in Python."""

import os
import re
import signal
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

import tuning
from tests.commands import Ran, start, wait_for
from tests.comparisons import store_study
from tests.studies import TINY_SPACE
from tests.texts import make_reviews, substituted
from tuning.config import Data, StudyConfig
from tuning.errors import ArgumentError, SpaceBug, SpaceError, StorageError, StudyError
from tuning.report.spaces import COMPARISON
from tuning.results import ResultsDir, StudyDir
from tuning.search import tune as searching
from tuning.search.tune import Budget
from tuning.study.prepare import prepare_search
from tuning.study.storage import close_study
from tuning.study.study import load_study

NAME = "compare-reviews"
VALUES = {"ngrams": [0.8, 0.81, 0.8], "cnn": [0.9, 0.91, 0.9], "text": [0.9, 0.9, 0.91]}
SPACES = ("gru", "ngrams", "cnn")
N_PARAMETERS = {"ngrams": 100, "cnn": 100, "text": 50}


class Searches:
    """A fake of the search of `tune`, which records its calls and writes confirmed studies, unless
    the name of the space is in `errors` or in `stops`: the user interrupts its search.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, float | None]] = []
        self.configs: list[StudyConfig] = []
        self.folds: list[int | str | None] = []
        self.errors: dict[str, Exception] = {}
        self.stops: set[str] = set()

    def tune(self, config: StudyConfig, root: ResultsDir, *, budget: Budget, **_: Any) -> Any:
        space, folder, seconds = config.space, root.study(config.study), budget.timeout_seconds
        self.calls.append((space, seconds))
        self.configs.append(config)
        self.folds.append(budget.folds)
        if space in self.errors:
            raise self.errors[space]
        if not folder.config_path.exists():
            made, corpus = prepare_search(config, results=root, folds=budget.folds)
            names = ("seed", "metric", "data", "train", "counts_validation", "resplit", "sampler")
            settings = {name: getattr(made, name) for name in names}
            settings["data_fingerprint"] = corpus.fingerprint
            settings["n_parameters"] = N_PARAMETERS[space]
            store_study(root, folder.name.rpartition("-")[0], space, VALUES[space], **settings)
            self.drop_mark(folder)
        return SimpleNamespace(is_complete=space not in self.stops)

    @staticmethod
    def drop_mark(folder: StudyDir) -> None:
        """Leave a study as a search leaves it: `compare` marks it afterwards."""
        study = load_study(folder, storage_url=ResultsDir(Path("results")).storage_url(None))
        study.set_user_attr(COMPARISON, {})
        close_study(study)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Searches:
    monkeypatch.chdir(tmp_path)
    make_reviews().to_csv("reviews.csv", index=False)
    made = Searches()
    monkeypatch.setattr(searching, "tune", made.tune)
    monkeypatch.setattr(
        "tuning.report.page.write_report", lambda study: (study.folder.report_path, None)
    )
    return made


def small(hp: Any) -> Any:
    raise NotImplementedError


class Large:
    def build(self, hp: Any) -> Any:
        raise NotImplementedError


def test_spaces_are_searched_in_their_order_for_the_same_time(
    searches: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    tuning.compare(["ngrams", "cnn"], "reviews.csv", minutes=2, seed=3, epochs=4)
    assert searches.calls == [("ngrams", 120), ("cnn", 120)]
    for config in searches.configs:
        assert (config.seed, config.train.epochs, config.data.data) == (3, 4, "reviews.csv")
    out = capsys.readouterr().out
    assert "ngrams, space 1 of 2: searching for 2 min, then confirming" in out
    assert "cnn has the best mean" in out
    assert out.count("report.html") == 2


def test_next_commands_are_those_of_the_best_space(
    searches: Searches, run_cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuning.Study] = []
    monkeypatch.setattr("tuning.cli.app._print_next", shown.append)
    ran = run_cli("compare", "--spaces", "cnn ngrams", "--data", "reviews.csv")
    assert "cnn has the best mean" in ran.out
    assert [study.name for study in shown] == [f"{NAME}-cnn"]


def test_all_spaces_have_the_metric_the_weights_and_the_folds_of_the_call(
    searches: Searches,
) -> None:
    chosen: dict[str, Any] = {"metric": "val_f1", "class_weight": {"negative": 2}, "folds": "3"}
    tuning.compare(["ngrams", "cnn"], "reviews.csv", **chosen)
    assert [config.metric for config in searches.configs] == ["val_f1"] * 2
    assert {config.train.class_weight for config in searches.configs} == {"negative:2"}
    assert searches.folds == [3, 3]
    # The data were tokenized once, before the first search.
    assert len([path for path in Path("results/cache").iterdir() if path.is_dir()]) == 1


def test_all_spaces_have_the_kind_of_the_data_and_its_metric(searches: Searches) -> None:
    tuning.compare(["ngrams", "cnn"], Data("reviews.csv", kind="number"))
    settings = [(config.data.kind, config.metric) for config in searches.configs]
    assert settings == [("number", "val_mae")] * 2


def test_comparison_continues_with_further_spaces_and_minutes(searches: Searches) -> None:
    tuning.compare(["ngrams", "cnn"], "reviews.csv", minutes=2)
    comparison = tuning.compare(["ngrams", "cnn", "text"], "reviews.csv", minutes=2)
    assert searches.calls[2:] == [("text", 120)]
    assert [*comparison.studies] == ["ngrams", "cnn", "text"]
    tuning.compare(["ngrams", "cnn"], "reviews.csv", minutes=3)
    assert searches.calls[3:] == [("ngrams", 60), ("cnn", 60)]
    tuning.compare(["ngrams", "cnn"], "reviews.csv", minutes=1)
    assert len(searches.calls) == 5


def test_interrupted_comparison_continues_with_the_time_that_is_left(
    searches: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    searches.stops = {"ngrams"}
    with pytest.raises(KeyboardInterrupt):
        tuning.compare(["ngrams", "cnn"], "reviews.csv", minutes=2)
    assert len(searches.calls) == 1
    assert "Interrupted; the same command continues the comparison." in capsys.readouterr().out
    root = ResultsDir(Path("results"))
    study = load_study(root.study(f"{NAME}-ngrams"), storage_url=root.storage_url(None))
    start = datetime(2026, 1, 1)
    # Two trials at a time count once, pauses do not count, and neither does a trial that was lost.
    for state, begin, end in (
        (TrialState.COMPLETE, 0, 30),
        (TrialState.PRUNED, 10, 20),
        (TrialState.PRUNED, 20, 40),
        (TrialState.FAIL, 30, 900),
        (TrialState.COMPLETE, 900, 910),
    ):
        trial = optuna.trial.create_trial(
            state=state, value=0.5 if state is TrialState.COMPLETE else None
        )
        trial.datetime_start = start + timedelta(seconds=begin)
        trial.datetime_complete = start + timedelta(seconds=end)
        study.add_trial(trial)
    close_study(study)
    searches.stops = set()
    tuning.compare(["ngrams", "cnn"], "reviews.csv", minutes=2)
    left = dict(searches.calls[1:])
    assert left["cnn"] == 120 and left["ngrams"] == pytest.approx(70, abs=1)


def test_other_spaces_go_on_after_a_bug_of_one(
    searches: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    searches.errors = {"ngrams": SpaceError("no such layer")}
    tuning.compare(["ngrams", "cnn"], "reviews.csv")
    assert "ngrams failed, and the others go on: no such layer" in capsys.readouterr().err
    searches.errors = {"cnn": StorageError("no space")}
    with pytest.raises(StorageError, match="no space"):
        tuning.compare(["ngrams", "cnn"], "reviews.csv", minutes=20)
    assert [space for space, _ in searches.calls] == ["ngrams", "cnn", "ngrams", "cnn"]


def test_comparison_in_which_every_space_fails_raises_the_error(
    searches: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    bug = SpaceBug("no such layer", traceback="Traceback: in build")
    searches.errors = {"ngrams": bug, "cnn": SpaceError("no such space")}
    with pytest.raises(SpaceError, match=r"Every .* failed; the first: no such layer"):
        tuning.compare(["ngrams", "cnn"], "reviews.csv")
    assert "Traceback: in build" in capsys.readouterr().err
    empty = tuning.Comparison("none", {}).spaces_dataframe()
    assert [*empty][:5] == ["space", "study", "mean", "low", "high"] and empty.empty


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": 9}, r"seed: .* has 9"),
        ({"epochs": 9}, "epochs: .* has 9"),
        ({"folds": 3}, "folds: the study has 5, this command has 3"),
        ({"metric": "val_f1"}, "metric: "),
        ({"class_weight": "balanced"}, "class_weight: "),
        ({}, "data_fingerprint: "),
    ],
)
def test_other_settings_than_before_are_refused_before_a_search(
    arguments: dict[str, Any], words: str, searches: Searches
) -> None:
    tuning.compare(["ngrams", "cnn"], "reviews.csv")
    if not arguments:
        make_reviews(200).to_csv("reviews.csv", index=False)
    with pytest.raises(StudyError, match=words):
        tuning.compare(["text", "cnn"], "reviews.csv", **arguments)
    assert len(searches.calls) == 2


def test_frame_becomes_a_file_and_hypermodels_are_named(
    searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tune(config: StudyConfig, *_: Any, **__: Any) -> Any:
        searches.configs.append(config)
        raise SpaceError("no such layer")

    monkeypatch.setattr(searching, "tune", tune)
    reviews = make_reviews(80).rename(columns={"review_body": "body"})
    with pytest.raises(SpaceError, match="Every search space failed"):
        tuning.compare([small, Large, "ngrams"], Data(reviews, text_column="body"))
    assert [config.space for config in searches.configs] == [
        *("python:small", "python:Large"),
        "ngrams",
    ]
    data = searches.configs[0].data
    name = f"compare-{Path(data.data).stem}"
    studies = [config.study for config in searches.configs]
    assert studies == [f"{name}-small", f"{name}-Large", f"{name}-ngrams"]
    assert data.text_column == "body"
    assert len(pd.read_parquet(data.data)) == 80


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"log_to": ["abacus:runs"]}, ArgumentError, ["abacus"]),
        ({"spaces": ["ngrams"]}, ArgumentError, ["spaces must name 2 search spaces or more"]),
        ({"spaces": ["ngrams", "ngrams"]}, ArgumentError, ["spaces must name", "'ngrams' twice"]),
        ({"spaces": ["ngrams", "none"]}, SpaceError, ["none"]),
        ({"spaces": ["ngrams", 7]}, SpaceError, ["or a function build(hp)", "received 7"]),
        ({"minutes": -1}, ArgumentError, ["minutes must be more than 0", "-1"]),
        ({"spaces": small}, ArgumentError, ["spaces must be a list", "function small"]),
        ({"workers": 0}, ArgumentError, ["workers must be a number from 1", "0"]),
    ],
)
def test_wrong_argument_is_named_before_anything_is_searched(
    arguments: dict[str, Any], error: type[Exception], words: list[str], searches: Searches
) -> None:
    with pytest.raises(error) as raised:
        tuning.compare(**{"spaces": ["ngrams", "cnn"], "data": "reviews.csv", **arguments})
    assert all(word in str(raised.value) for word in words), raised.value
    assert searches.calls == []


@pytest.fixture
def comparison(tmp_path: Path) -> tuning.Comparison:
    """Return a comparison of three spaces, of which one is not confirmed."""
    results = ResultsDir(tmp_path)
    folders = {name: store_study(results, NAME, name, VALUES.get(name, ())) for name in SPACES}
    return tuning.Comparison(NAME, {n: tuning.Study(f, results) for n, f in folders.items()})


def test_spaces_are_a_data_frame_with_the_best_first(comparison: tuning.Comparison) -> None:
    frame = comparison.spaces_dataframe()
    assert frame["space"].tolist() == ["cnn", "ngrams", "gru"]
    best = frame.iloc[0]
    assert best["low"] < best["mean"] < best["high"]
    assert (best["study"], best["n_parameters"]) == ("compare-reviews-cnn", 100)
    assert pd.isna(frame["mean"].iloc[-1])
    assert comparison.best is not None and comparison.best.name == "compare-reviews-cnn"


def test_notebook_shows_the_best_and_the_spaces(comparison: tuning.Comparison) -> None:
    page = comparison._repr_html_()
    assert page.startswith("<p><b>compare-reviews</b></p>\n<p>cnn has the best mean")
    assert "<table" in page
    assert not re.search(r"NaN|None|NA\b|e\+06", page)


@pytest.mark.journey
def test_killed_comparison_goes_on_and_is_in_each_report(
    run_cli: Callable[..., Ran], tmp_path: Path
) -> None:
    data = tmp_path / "reviews.csv"
    make_reviews().to_csv(data, index=False)
    build = "        return lstm_classifier("
    bug = f"        raise RuntimeError('no such layer')\n{build}"
    sources = {"small": TINY_SPACE, "broken": substituted(TINY_SPACE, build, bug)}
    sources["large"] = substituted(
        TINY_SPACE, '"lstm_units", 2, 4, default=2', '"lstm_units", 6, 9, default=8'
    )
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    spaces = " ".join(str(tmp_path / f"{name}.py") for name in sources)
    results = ResultsDir(tmp_path / "results")
    flags = ["--spaces", spaces, "--data", str(data), "--workers", "2", "--folds", "1"]
    command = [sys.executable, "-m", "tuning", "compare", *flags, "--results", str(results.path)]
    process = start([*command, "--minutes", "0.7"])
    wait_for(process, "trial 1 ")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    ran = run_cli("compare", *flags, "--minutes", "0.7")
    assert ran.code == 0, ran.err
    assert ran.out.count("then confirming") == 3
    assert f"make export-best STUDY={NAME}-" in ran.out
    assert "no such layer" in ran.err
    for name in ("small", "large"):
        page = results.study(f"{NAME}-{name}").report_path.read_text(encoding="utf-8")
        assert "Other search spaces on the same data" in page and "not confirmed" not in page
        assert not results.study(f"{NAME}-{name}").test_path.exists()
