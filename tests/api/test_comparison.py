"""Comparisons of search spaces: the loop over the searches, and their results in Python."""

import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import tuning
from tests.commands import Ran, start, wait_for
from tests.comparisons import store_study
from tests.studies import TINY_SPACE
from tests.texts import make_reviews, substituted
from tuning.atomic_io import read_json, write_json
from tuning.config import Data, StudyConfig
from tuning.confirmation.rounds import Confirmation
from tuning.errors import ArgumentError, SpaceBug, SpaceError, StorageError, StudyError
from tuning.results import ResultsDir
from tuning.search import tune as searching
from tuning.search.tune import Budget
from tuning.study.budget import SEARCHED_SECONDS, TOTAL_SECONDS, set_n_trials
from tuning.study.prepare import prepare_corpus, prepare_search
from tuning.study.storage import close_study
from tuning.study.study import load_study

NAME = "compare-reviews"
VALUES = {"ngrams": [0.8, 0.81, 0.8], "cnn": [0.9, 0.91, 0.9], "text": [0.9, 0.9, 0.91]}
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
        space, folder, seconds = config.space, root.study(config.study), budget.total_seconds
        self.calls.append((space, seconds))
        self.configs.append(config)
        self.folds.append(budget.folds)
        if space in self.errors:
            raise self.errors[space]
        if not folder.config_path.exists():
            made, corpus = prepare_search(config, results=root, folds=budget.folds)
            names = ("seed", "metric", "data", "train", "counts_validation")
            settings = {name: getattr(made, name) for name in names}
            settings["data_fingerprint"] = corpus.fingerprint
            settings["n_parameters"] = N_PARAMETERS[space]
            store_study(root, folder.name.rpartition("-")[0], space, VALUES[space], **settings)
        study = load_study(folder, storage_url=root.storage_url(None))
        study.set_user_attr(TOTAL_SECONDS, seconds)
        if space not in self.stops:
            study.set_user_attr(SEARCHED_SECONDS, seconds)
        set_n_trials(study, 1)
        close_study(study)
        confirmation = Confirmation.load(folder)
        assert confirmation is not None
        replace(confirmation, is_over=space not in self.stops).save(folder)
        return SimpleNamespace(is_complete=space not in self.stops)


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
    assert "ngrams, space 1 of 2: searching until 2 min are over" in out
    assert "Choose cnn" in out
    assert out.count("report.html") == 2


def test_next_commands_are_those_of_the_space_to_choose(
    searches: Searches, run_cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuning.Study] = []
    monkeypatch.setattr("tuning.cli.app._print_next", shown.append)
    ran = run_cli("compare", "--spaces", "cnn text", "--data", "reviews.csv")
    assert "Choose text" in ran.out and "cnn has the best mean" in ran.out
    assert [study.name for study in shown] == [f"{NAME}-text"]


def test_all_spaces_have_the_metric_the_weights_and_the_folds_of_the_first(
    searches: Searches,
) -> None:
    chosen: dict[str, Any] = {"metric": "val_f1", "class_weight": {"negative": 2}, "folds": "3"}
    tuning.compare(["ngrams", "cnn"], "reviews.csv", **chosen)
    tuning.compare(["text"], "reviews.csv")
    assert [config.metric for config in searches.configs] == ["val_f1"] * 3
    assert {config.train.class_weight for config in searches.configs} == {"negative:2"}
    assert searches.folds == [3, 3, 3]
    # The data were tokenized once, before the first search.
    assert len([path for path in Path("results/cache").iterdir() if path.is_dir()]) == 1
    assert len(tuning.load_comparison(NAME).studies) == 3


def test_new_space_of_an_earlier_comparison_has_the_words_of_the_others(searches: Searches) -> None:
    """Before, studies with folds counted words in their training split."""
    tuning.compare(["ngrams", "cnn"], "reviews.csv", folds=3)
    results = ResultsDir(Path("results"))
    earlier = replace(searches.configs[0], counts_validation=None)
    fingerprint = prepare_corpus(earlier, results=results)[0].fingerprint
    for study in tuning.load_comparison(NAME).studies.values():
        path = results.study(study.name).config_path
        record = read_json(path)
        assert record["config"].pop("counts_validation") is True
        write_json(path, {**record, "data_fingerprint": fingerprint})
    tuning.compare(["text"], "reviews.csv")
    assert len(tuning.load_comparison(NAME).studies) == 3


def test_all_spaces_have_the_kind_of_the_first_and_its_metric(searches: Searches) -> None:
    tuning.compare(["ngrams", "cnn"], Data("reviews.csv", kind="number"))
    tuning.compare(["text"], "reviews.csv")
    settings = [(config.data.kind, config.metric) for config in searches.configs]
    assert settings == [("number", "val_mae")] * 3


def test_comparison_continues_with_further_spaces_and_minutes(searches: Searches) -> None:
    tuning.compare(["ngrams", "cnn"], "reviews.csv", minutes=2, seed=3)
    tuning.compare(["text"], "reviews.csv")
    assert searches.calls[2:] == [("text", 120)]
    assert searches.configs[2].seed == 3
    tuning.compare(data="reviews.csv", minutes=3)
    assert searches.calls[3:] == [("ngrams", 180), ("cnn", 180), ("text", 180)]
    with pytest.raises(ArgumentError, match="minutes must be 3 or more"):
        tuning.compare(data="reviews.csv", minutes=2)


@pytest.mark.parametrize("is_continued", [False, True], ids=["", "continued by tune"])
def test_interrupted_comparison_continues_where_it_was_stopped(
    is_continued: bool, searches: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study that `make tune TRIALS=5` continues ends with a confirmation, and is searched for the
    time that it has left.
    """
    searches.stops = {"ngrams"}
    with pytest.raises(KeyboardInterrupt):
        tuning.compare(["ngrams", "cnn"], "reviews.csv", minutes=2)
    assert len(searches.calls) == 1
    assert "Interrupted; the same command continues the comparison." in capsys.readouterr().out
    folder = ResultsDir(Path("results")).study(f"{NAME}-ngrams")
    confirmation = Confirmation.load(folder)
    assert confirmation is not None
    replace(confirmation, is_over=is_continued).save(folder)
    searches.stops = set()
    tuning.compare(["ngrams", "cnn"], "reviews.csv")
    assert searches.calls[1:] == [("ngrams", 120), ("cnn", 120)]


def test_other_spaces_go_on_after_a_bug_of_one(
    searches: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    searches.errors = {"ngrams": SpaceError("no such layer")}
    tuning.compare(["ngrams", "cnn"], "reviews.csv")
    assert "ngrams failed, and the others go on: no such layer" in capsys.readouterr().err
    searches.errors = {"cnn": StorageError("no space")}
    with pytest.raises(StorageError, match="no space"):
        tuning.compare(["ngrams", "cnn"], "reviews.csv", minutes=20)
    assert [space for space, _ in searches.calls] == ["ngrams", "cnn", "cnn"]


def test_comparison_in_which_every_space_fails_raises_the_error(
    searches: Searches, capsys: pytest.CaptureFixture[str]
) -> None:
    bug = SpaceBug("no such layer", traceback="Traceback: in build")
    searches.errors = {"ngrams": bug, "cnn": SpaceError("no such space")}
    with pytest.raises(SpaceError, match=r"Every .* failed; the first: no such layer"):
        tuning.compare(["ngrams", "cnn"], "reviews.csv")
    assert "Traceback: in build" in capsys.readouterr().err
    assert list(tuning.Comparison("none", ResultsDir(Path("results"))).spaces_dataframe()) == [
        *("space", "study", "accuracy", "low", "high", "search_value", "n_trials"),
        *("train_seconds", "n_parameters", "latency_ms"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        # The data are not read: their fingerprint, which the seed changes, is not in the message.
        ({"seed": 9}, r"created with; seed: .* has 9\. Use"),
        ({"epochs": 9}, "epochs: .* has 9"),
        ({"folds": 3}, "; folds: the study has 5, this command has 3"),
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
        tuning.compare(["text"], "reviews.csv", **arguments)
    assert len(searches.calls) == 2


def test_frame_becomes_a_file_and_hypermodels_are_named(
    searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tune(config: StudyConfig, *_: Any, **__: Any) -> Any:
        searches.configs.append(config)
        return SimpleNamespace(is_complete=True)

    monkeypatch.setattr(searching, "tune", tune)
    reviews = make_reviews(80).rename(columns={"review_body": "body"})
    comparison = tuning.compare([small, Large, "ngrams"], Data(reviews, text_column="body"))
    assert [config.space for config in searches.configs[:2]] == ["python:small", "python:Large"]
    data = searches.configs[0].data
    assert data.text_column == "body"
    assert len(pd.read_parquet(data.data)) == 80
    assert comparison.name == f"compare-{Path(data.data).stem}"


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
    store_study(results, NAME, "gru")
    for space in ("ngrams", "cnn"):
        store_study(results, NAME, space, VALUES[space])
    return tuning.load_comparison(NAME, results=tmp_path)


def test_comparison_is_found_after_the_working_directory_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_study(ResultsDir(tmp_path / "results"), NAME, "gru")
    monkeypatch.chdir(tmp_path)
    comparison = tuning.load_comparison(NAME)
    monkeypatch.chdir("results")
    assert [*comparison.studies] == ["gru"]


def test_spaces_are_a_data_frame_with_the_best_first(comparison: tuning.Comparison) -> None:
    frame = comparison.spaces_dataframe()
    assert frame["space"].tolist() == ["cnn", "ngrams", "gru"]
    best = frame.iloc[0]
    assert best["low"] < best["accuracy"] < best["high"]
    assert (best["study"], best["n_parameters"]) == ("compare-reviews-cnn", 100)
    assert pd.isna(frame["accuracy"].iloc[-1])
    assert comparison.best is not None and comparison.best.name == "compare-reviews-cnn"
    assert set(comparison.studies) == {"ngrams", "cnn", "gru"}


def test_notebook_shows_what_to_choose_and_the_spaces(comparison: tuning.Comparison) -> None:
    page = comparison._repr_html_()
    assert page.startswith("<p><b>compare-reviews</b></p>\n<p>Choose ")
    assert "cnn has the best mean" in comparison.verdict()
    assert "<table" in page
    assert not re.search(r"NaN|None|NA\b|e\+06", page)
    assert repr(comparison).startswith("Comparison('compare-reviews', ")


@pytest.mark.parametrize("name", ["compare-none", "compare-reviews-cnn"])
def test_name_that_is_no_comparison_is_refused(
    name: str, comparison: tuning.Comparison, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=f"which has compare-reviews; received '{name}'"):
        tuning.load_comparison(name, results=tmp_path)


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
    ran = run_cli("compare", *flags)
    assert ran.code == 0, ran.err
    assert ran.out.count("until 0.7 min are over") == 3
    assert f"make export-best STUDY={NAME}-" in ran.out
    assert "no such layer" in ran.err
    comparison = tuning.load_comparison(NAME, results=results.path)
    frame = comparison.spaces_dataframe()
    assert set(frame["space"][:2]) == {"small", "large"} and frame["accuracy"][:2].notna().all()
    for name in ("small", "large"):
        page = results.study(f"{NAME}-{name}").report_path.read_text(encoding="utf-8")
        assert "Other search spaces on the same data" in page
        assert not results.study(f"{NAME}-{name}").test_path.exists()
