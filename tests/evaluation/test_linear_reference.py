"""The linear model of a corpus: its stored scores, its process, and the sentence about it."""

import logging
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pytest
from filelock import FileLock

from tests.numbered import NGRAMS, TWO, score
from tests.paths import ROOT
from tests.studies import SPACE
from tests.texts import make_reviews, splits_of
from tuning import documents
from tuning.config import StudyConfig, TrainConfig
from tuning.data.redraw import redrawn
from tuning.data.splits import SplitReviews
from tuning.evaluation.linear_reference import (
    BackgroundFit,
    LinearReference,
    LinearTask,
    read_linear_reference,
)
from tuning.evaluation.ngram_model import (
    all_references,
    columns_of,
    fit_linear_reference,
    indicators,
    split_of,
    tune_ngram_model,
)
from tuning.evaluation.ngram_model import fit as fit_model
from tuning.evaluation.references import Split
from tuning.inputs.contract import resplit
from tuning.inputs.corpus import Corpus, build_corpus
from tuning.inputs.ngrams import ngrams_of
from tuning.workers.messages import train_request

T = TypeVar("T")
REFERENCE = LinearReference(
    about="words",
    scores={"accuracy": 0.8, "f1": 0.7, "loss": 0.4, "auc": None, "mae": 0.0003},
    seconds=1.0,
)
TASK = LinearTask()
END_SECONDS = 60  # maximum time that a test waits for a process


def reviews(n: int) -> SplitReviews:
    return splits_of(*(make_reviews(n, seed=seed)["review_body"].tolist() for seed in range(3)))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return build_corpus(tmp_path / "cache" / "abc", reviews(100))


@pytest.fixture
def fit() -> Iterator[BackgroundFit]:
    made = BackgroundFit()
    yield made
    made.close()


def until(condition: Callable[[], T]) -> T:
    """Return the first value of a condition that is true."""
    end = time.monotonic() + END_SECONDS
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def child_of(parent: psutil.Process) -> psutil.Process:
    """Return the process that trains; others may be running too. A new process has no command line
    for a moment.
    """
    module = "tuning.evaluation.ngram_model"
    (child,) = until(lambda: [c for c in parent.children() if module in c.cmdline()])
    return child


def wait_for(fit: BackgroundFit) -> LinearReference | None:
    """Return the scores when the process has ended."""
    until(lambda: fit.poll() or not fit.is_running)
    return fit.reference


def wait_until_dead(pid: int) -> None:
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def lock_of(corpus: Corpus) -> FileLock:
    """Return the lock without which the process trains nothing."""
    return FileLock(f"{TASK.path(corpus.folder)}.lock")


def test_scores_are_those_of_the_model_on_validation(corpus: Corpus) -> None:
    reference = fit_linear_reference(corpus, TASK)
    splits = split_of(corpus, "train"), split_of(corpus, "validation")
    settings, (predictions,) = tune_ngram_model(
        [splits], orders=corpus.ngram_orders, target=TWO, task=TASK
    )
    expected = score(splits[1].labels, predictions)
    assert reference.settings == settings and expected["accuracy"] > 0.9
    assert reference.scores == pytest.approx(expected)


def test_scores_with_folds_are_means_over_the_folds_of_the_trials(
    tmp_path: Path, fit: BackgroundFit
) -> None:
    """Of each class, some labels are wrong, and some rows have a larger weight."""
    splits = reviews(100)
    for frame in splits.frames.values():
        frame.loc[::7, "label"] = 1 - frame.loc[::7, "label"]
        frame["weight"] = np.where(np.arange(len(frame)) % 3, 1.0, 5.0).astype(np.float32)
    corpus = build_corpus(tmp_path / "abc", splits)
    config = StudyConfig(study="s", seed=3, train=TrainConfig(n_folds=4))
    redraw = train_request(config, {}, space=SPACE, space_path=Path(), corpus=corpus).job.redraw
    assert redraw is not None
    fit.task = LinearTask.of(config)
    fit.start(corpus.folder)
    reference = wait_for(fit)
    assert reference is not None and reference.settings is not None
    columns = columns_of(corpus.ngram_orders, reference.settings.order)
    train, validation = corpus.split("train"), corpus.split("validation")
    losses = []
    for places in redrawn(corpus.rows, redraw):
        learned_of, held_out = resplit(train, validation, places)
        matrix, other = (
            indicators(ngrams_of(part.texts), columns) for part in (learned_of, held_out)
        )
        rows = Split(matrix, learned_of.labels, learned_of.weights)
        model = fit_model(rows, columns, reference.settings, target=TWO)
        losses.append(score(held_out.labels, model.predictions(other, target=TWO))["loss"])
    assert len({*losses}) == 4
    assert reference.value("val_loss") == pytest.approx(np.mean(losses), rel=1e-9)
    assert reference.about.endswith(" on 4 folds")
    assert read_linear_reference(corpus.folder, TASK) is None


def test_each_metric_and_class_weights_have_a_model_of_their_own(corpus: Corpus) -> None:
    configs = [
        StudyConfig(
            study="s", metric=metric, train=TrainConfig(class_weight=class_weight, n_folds=n)
        )
        for n in (1, 4, 5)
        for metric in ("val_accuracy", "val_f1")
        for class_weight in ("", "balanced", "negative:1,positive:2")
    ]
    paths = [LinearTask.of(config).path(corpus.folder) for config in configs]
    assert len({*paths}) == len(configs)
    assert paths[0].name == "linear_reference.json"  # the only name of earlier versions
    task = LinearTask.of(configs[5])
    reference = fit_linear_reference(corpus, task)
    assert read_linear_reference(corpus.folder, task) == reference
    assert reference.about.endswith("chosen by validation F1")
    assert read_linear_reference(corpus.folder, TASK) is None
    fit_linear_reference(corpus, TASK)  # An earlier version wrote this one without weights of rows.
    np.save(corpus.folder / "train.weights.npy", np.ones(100, np.float32))
    assert read_linear_reference(corpus.folder, TASK) is None


def test_export_trains_with_the_stored_settings(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = all_references(corpus, task=TASK)[NGRAMS]
    stored = read_linear_reference(corpus.folder, TASK)
    assert stored is not None
    assert stored.settings is not None
    # A file of an earlier version has no settings, and the export tunes again.
    documents.write(TASK.path(corpus.folder), replace(stored, settings=None))
    assert fit_linear_reference(corpus, TASK).settings == stored.settings
    monkeypatch.setattr("tuning.evaluation.ngram_model.tune_ngram_model", None)
    again = all_references(corpus, task=TASK)[NGRAMS]
    np.testing.assert_array_equal(again.predictions, tuned.predictions)
    assert again.about == tuned.about


def test_test_split_has_no_influence(tmp_path: Path) -> None:
    scores = []
    for name in ("first", "second"):
        splits = reviews(100)
        if name == "second":
            splits.frames["test"]["label"] = 1 - splits.frames["test"]["label"]
            splits.frames["test"]["text"] = "other"
        scores.append(fit_linear_reference(build_corpus(tmp_path / name, splits), TASK).scores)
    assert scores[0] == scores[1]


def test_undefined_score_is_none(tmp_path: Path) -> None:
    """The validation split has one class, so AUC is not defined."""
    splits = reviews(60)
    splits.frames["validation"]["label"] = 1
    corpus = build_corpus(tmp_path / "abc", splits)
    reference = fit_linear_reference(corpus, TASK)
    assert reference.scores["auc"] is None
    assert read_linear_reference(corpus.folder, TASK) == reference


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": 1, "about": 3}'])
def test_broken_file_is_replaced(
    text: str, corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    path = TASK.path(corpus.folder)
    path.write_text(text)
    assert read_linear_reference(corpus.folder, TASK) is None
    assert str(path) in caplog.text
    assert fit_linear_reference(corpus, TASK) == read_linear_reference(corpus.folder, TASK)


def test_next_start_reads_the_stored_scores_also_of_a_corpus_that_is_built_again(
    corpus: Corpus, fit: BackgroundFit
) -> None:
    stored = fit_linear_reference(corpus, TASK)
    fit.start(build_corpus(corpus.folder, reviews(100)).folder)
    assert not fit.is_running
    assert fit.poll() == stored
    assert fit.poll() is None


def test_failure_is_a_sentence_in_the_log(
    tmp_path: Path, fit: BackgroundFit, caplog: pytest.LogCaptureFixture
) -> None:
    fit.start(tmp_path / "no corpus")
    assert wait_for(fit) is None
    assert fit.reference is None and not fit.is_running
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "the linear model is not trained: " in record.message
    assert "no corpus" in record.message and "\n" not in record.message


def test_killed_process_is_a_sentence_in_the_log(
    corpus: Corpus, fit: BackgroundFit, caplog: pytest.LogCaptureFixture
) -> None:
    with lock_of(corpus):
        fit.start(corpus.folder)
        child = child_of(psutil.Process())
        child.kill()
        assert wait_for(fit) is None
    assert "ended with signal 9" in caplog.text


def test_one_process_is_started_and_close_ends_it(corpus: Corpus, fit: BackgroundFit) -> None:
    before = {child.pid for child in psutil.Process().children()}  # other tests may have left some
    with lock_of(corpus):
        fit.start(corpus.folder)
        fit.start(corpus.folder)
        (started,) = {child.pid for child in psutil.Process().children()} - before
        fit.close()
        wait_until_dead(started)
    assert not fit.is_running
    assert read_linear_reference(corpus.folder, TASK) is None


PARENT = """
import sys, time
from pathlib import Path
from tuning.evaluation.linear_reference import BackgroundFit

fit = BackgroundFit()
fit.start(Path(sys.argv[1]))
print("started", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_process_ends_when_its_parent_is_killed(number: int, corpus: Corpus) -> None:
    with (
        lock_of(corpus),
        subprocess.Popen(
            [sys.executable, "-c", PARENT, str(corpus.folder)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as parent,
    ):
        assert parent.stdout
        assert parent.stdout.readline() == "started\n"
        try:
            child = child_of(psutil.Process(parent.pid))
        finally:
            parent.send_signal(number)
        parent.wait(END_SECONDS)
        wait_until_dead(child.pid)


def test_process_gives_its_scores_once_also_after_ctrl_c_in_the_terminal(
    corpus: Corpus, fit: BackgroundFit
) -> None:
    """The process ends with its parent, which may still write the state of its trials."""
    with lock_of(corpus):
        fit.start(corpus.folder, niceness=3)
        child = child_of(psutil.Process())
        until(lambda: child.nice() > psutil.Process().nice())
        child.send_signal(signal.SIGINT)
        assert fit.poll() is None  # The process can't end before the lock is free.
    reference = wait_for(fit)
    assert reference is not None
    assert reference == fit.reference == read_linear_reference(corpus.folder, TASK)
    assert fit.poll() is None


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("val_accuracy", "a validation accuracy of 0.8000: the bar"),
        ("val_f1", "a validation F1 of 0.7000"),
        ("val_auc", "a validation accuracy of 0.8000"),
    ],
)
def test_sentence_has_the_metric_of_the_study_or_the_accuracy(metric: str, words: str) -> None:
    assert words in REFERENCE.sentence(metric)


@pytest.mark.parametrize(
    ("value", "metric", "expected"),
    [
        (0.79, "val_accuracy", True),
        (0.8, "val_accuracy", False),
        (0.79996, "val_accuracy", False),
        (0.41, "val_loss", True),
        (0.39, "val_loss", False),
        (0.1, "val_auc", False),
        (math.nan, "val_accuracy", False),
        (0.00031, "val_mae", True),
    ],
)
def test_model_is_ahead_where_its_value_is_better(
    value: float, metric: str, expected: bool
) -> None:
    assert REFERENCE.is_ahead_of(value, metric) is expected
