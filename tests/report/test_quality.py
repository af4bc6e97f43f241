"""The scores of models side by side, and the predictions that the figures are drawn from."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.numbered import MAJORITY, TWO, numbered
from tests.stored_documents import TEST_SCORES
from tests.studies import Setting
from tuning.confirmation.record import Confirmation, Finalist
from tuning.data.redraw import redrawn
from tuning.data.rows import Redraw
from tuning.documents import write
from tuning.evaluation.linear_reference import LinearReference
from tuning.evaluation.predictions import (
    NOT_TEST,
    PROBABILITIES,
    Column,
    Predictions,
    column_of,
    write_predictions,
)
from tuning.evaluation.scores import read_test_scores
from tuning.evaluation.slices import slices_of
from tuning.evaluation.statistics import Interval
from tuning.evaluation.test_split import BEST, SINGLE
from tuning.inputs.corpus import Corpus
from tuning.report.quality import (
    Point,
    confusion_figure,
    points_figure,
    points_on_test,
    read_quality,
    slices_figure,
    validation_points,
)
from tuning.study.handle import StudyHandle
from tuning.study.summary import Summary, summarize
from tuning.targets.classes import Classes


def predictions(
    n: int, *, when: str = "", column: Column | None = None, target: Classes = TWO
) -> Predictions:
    """Return predictions of `n` texts, of which the last is wrong."""
    labels = np.arange(n) % 2
    probabilities = np.where(labels[:, None] == [[0, 1]], 0.9, 0.1)
    probabilities[-1] = probabilities[-1, ::-1]
    return Predictions(labels, np.arange(1, n + 1), probabilities, when, column, target=target)


def study_of(setting: Setting) -> tuple[Corpus, Summary]:
    study = setting.study()
    cache = next(path for path in (setting.results.path / "cache").iterdir() if path.is_dir())
    return Corpus(cache), summarize(study, metric="val_accuracy")


def quality_of(
    setting: Setting, columns: Mapping[str, Column] | None = None
) -> tuple[Predictions, str] | None:
    corpus, _ = study_of(setting)
    return read_quality(StudyHandle.of(setting.results, "s"), corpus, columns=columns or {})


def confirm_best(setting: Setting, summary: Summary, *, overlap: float = 0.0) -> Path:
    """Write a confirmation of the best trial, and return the path of its repeat on seed 1."""
    assert summary.best is not None
    number = summary.best.number
    finalist = Finalist(number, dict(summary.best.params), 0.8, 1.0, repeats={1: 0.8})
    made = Confirmation("val_accuracy", [1], [], [finalist], overlap=overlap)
    made.save(setting.folder)
    path = setting.folder.repeat_path(number, 1, is_resplit=overlap > 0)
    path.parent.mkdir(exist_ok=True)
    return path


def test_value_in_a_figure_has_the_digits_that_it_has_beside_its_interval() -> None:
    figure = points_figure([Point("m", Interval(0.0004, -0.02, 0.03), "red")], title="R²")
    assert figure.layout.annotations[0].text == "m: 0.0004"


def test_predictions_are_those_of_the_newest_evaluation(copied: Setting) -> None:
    folder, when = copied.folder, TEST_SCORES.test_looks[-1].when
    write(folder.test_path, TEST_SCORES)
    seen = predictions(40, when=when, column=column_of("c", ["a"] * 40))
    write_predictions(folder.test_predictions_path, seen)
    found = quality_of(copied)
    assert found is not None and "40 texts of the test split" in found[1]
    assert found[0].column is not None and found[0].column.name == "c"
    columns = {"test": column_of("other", ["b"] * 40)}
    found = quality_of(copied, columns)
    assert found is not None and found[0].column is columns["test"]
    write_predictions(folder.test_predictions_path, replace(seen, when="earlier"))
    assert quality_of(copied) is None


def test_predictions_before_an_export_are_those_of_a_repeat(copied: Setting) -> None:
    corpus, summary = study_of(copied)
    labels = corpus.split("validation").labels
    path = confirm_best(copied, summary)
    np.savez(path, **{PROBABILITIES: np.eye(2, dtype=np.float32)[labels]})
    found = quality_of(copied)
    assert found is not None and found[0].is_right.all()
    assert "on seed 1" in found[1] and "validation split" in found[1]
    np.savez(path, **{PROBABILITIES: np.eye(2, dtype=np.float32)})  # of other texts
    assert quality_of(copied) is None


def test_predictions_of_a_fresh_split_are_of_the_rows_that_its_seed_has_drawn(
    copied: Setting,
) -> None:
    corpus, summary = study_of(copied)
    both = corpus.split("train") + corpus.split("validation")
    share = len(corpus.split("validation").labels) / len(both.labels)
    ((_, drawn),) = redrawn(corpus.rows, Redraw(seed=1), validation_share=share)
    path = confirm_best(copied, summary, overlap=0.2)
    np.savez(path, **{PROBABILITIES: np.eye(2, dtype=np.float32)[both.labels[drawn]]})
    values = ["first" if row < 100 else "other" for row in range(len(both.labels))]
    columns = {NOT_TEST: column_of("c", values)}
    found = quality_of(copied, columns)
    assert found is not None and "rows that this seed has drawn" in found[1]
    seen, _ = found
    assert seen.is_right.all() and (seen.lengths == both.texts.lengths[drawn]).all()
    assert seen.column and seen.column.groups[seen.column.codes[0]] == values[drawn[0]]


def test_points_of_the_test_split_leave_out_the_majority_class() -> None:
    points = points_on_test(TEST_SCORES, "accuracy")
    assert [point.name for point in points] == [
        "exported model, trial 2",
        "baseline, trial 0",
        "TF-IDF + logistic regression",
    ]
    value, low, high = TEST_SCORES.scores["best"].interval("accuracy")
    assert points[0].score == Interval(value, low, high)


def test_models_are_read_in_the_order_in_which_they_are_shown(tmp_path: Path) -> None:
    """JSON sorts the names of the models."""
    test, path = TEST_SCORES, tmp_path / "test.json"
    references = ["n-grams", MAJORITY]
    stored = replace(
        test,
        scores=dict.fromkeys(["baseline", BEST, SINGLE], test.scores[BEST]),
        references=dict.fromkeys(references, test.references[MAJORITY]),
        comparisons=dict.fromkeys([*references, "baseline", SINGLE], test.comparisons[MAJORITY]),
    )
    write(path, stored)
    seen = read_test_scores(path)
    assert seen is not None and seen == stored
    assert [*seen.scores] == [BEST, SINGLE, "baseline"]
    assert [*seen.references] == [MAJORITY, "n-grams"]
    assert [*seen.comparisons] == [SINGLE, "baseline", MAJORITY, "n-grams"]


def test_points_before_an_export_are_of_the_validation_split(copied: Setting) -> None:
    _, summary = study_of(copied)
    linear = LinearReference(about="", scores={"accuracy": 0.75}, seconds=1.0)
    best, *others, last = validation_points(summary, None, linear)
    assert summary.best is not None and summary.baseline is not None
    assert best.score.value == summary.best.value and math.isnan(best.score.low)
    names = [point.name for point in others]
    same = summary.best is summary.baseline
    assert names == ([] if same else [f"baseline, trial {summary.baseline.number}"])
    assert (last.name, last.score.value) == ("linear model", 0.75)


def test_slices_have_the_number_of_texts() -> None:
    seen = predictions(40, column=column_of("c", ["x"] * 30 + ["y"] * 10))
    titles = [title for title, _ in slices_of(seen)]
    assert titles == ["Accuracy by class", "Accuracy by text length", "Accuracy by c"]
    by_column = slices_of(seen)[2][1]
    figure = slices_figure(seen, by_column)
    texts = [annotation.text for annotation in figure.layout.annotations]
    assert texts == [
        "x, 30 texts: 1.0000 [0.8865, 1.0000]",
        "y, 10 texts: 0.9000 [0.5958, 0.9821]",
    ]
    assert figure.layout.shapes[0].x0 == pytest.approx(39 / 40)


def test_confusion_matrix_counts_the_texts() -> None:
    (drawn,) = confusion_figure(predictions(40)).data
    cells = drawn.text
    negative, positive = TWO.names
    assert drawn.hovertext[1][0] == f"{positive} → {negative}<br>{cells[1][0]}"
    assert [[cell.split("<br>")[0] for cell in row] for row in cells] == [["20", "0"], ["1", "19"]]
    # Class 2 neither occurs nor is predicted.
    zeros = np.array([0, 0])
    seen = Predictions(zeros, zeros, np.eye(3)[zeros], target=numbered(3))
    (drawn,) = confusion_figure(seen).data
    assert drawn.z.tolist() == np.diag([1, 0, 0]).tolist()
