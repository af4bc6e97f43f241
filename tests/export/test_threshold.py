"""The decision threshold of an export: chosen on the predictions of repeats, tested beside 0.5, and
used by everything that predicts.
"""

import ast
import contextlib
import io
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.numbered import TWO, numbered
from tests.report.test_quality import confirm_best, study_of
from tests.stored_documents import full_manifest
from tests.studies import Setting
from tuning.api.exports import load_export
from tuning.confirmation.record import Confirmation
from tuning.errors import StudyError
from tuning.evaluation.out_of_sample import Rows
from tuning.evaluation.predictions import read_predictions, write_probabilities
from tuning.evaluation.scores import ChosenThreshold, ThresholdChange
from tuning.evaluation.statistics import Interval
from tuning.evaluation.test_split import threshold_sentences
from tuning.export.export import ExportChoice, export_best
from tuning.export.threshold import _worse_sentence, margin_rows, require_thresholds, thresholds_of
from tuning.inference.load import load_fastest
from tuning.inference.manifest import read_manifest
from tuning.inputs.corpus import Corpus
from tuning.report.page import write_report
from tuning.report.quality import read_quality
from tuning.report.threshold import threshold_advice
from tuning.study.handle import StudyHandle
from tuning.targets.classes import Classes
from tuning.targets.labels import MultiLabel
from tuning.targets.number import Number
from tuning.targets.order import Order
from tuning.targets.target import Array, Target
from tuning.targets.thresholds import Criterion, choose_threshold, parse_criterion
from tuning.templates import templates_of


def criterion_of(threshold: str) -> Criterion:
    criterion = parse_criterion(threshold)
    assert criterion is not None
    return criterion


def write_repeat(setting: Setting) -> tuple[Corpus, Array]:
    """Keep predictions of the best trial for the validation split, in which each positive text has
    a probability above 0.2, and most others have less; return them.
    """
    corpus, summary = study_of(setting)
    labels = corpus.split("validation").labels
    positive = np.random.default_rng(0).uniform(0.05, 0.2, len(labels)) + 0.1 * labels
    positive[::7] = 0.4
    kept = np.stack([1 - positive, positive], axis=1).astype(np.float32)
    write_probabilities(confirm_best(setting, summary), kept)
    return corpus, kept


def chosen_of(setting: Setting) -> Any:
    """Return the parts of a `ChosenTrial` that the choice of a threshold reads."""
    study = StudyHandle.of(setting.results, "s")
    return SimpleNamespace(trial=study.summary.best, study=study, config=setting.config)


def test_threshold_is_chosen_on_the_predictions_of_the_repeats(copied: Setting) -> None:
    corpus, kept = write_repeat(copied)
    criterion = criterion_of("f1")
    chosen = thresholds_of(chosen_of(copied), None, corpus, criterion, warn=pytest.fail)
    labels, n_train = corpus.split("validation").labels, len(corpus.split("train").labels)
    codes = corpus.rows.texts[n_train:]
    expected = choose_threshold(
        labels == 1, kept[:, 1].astype(float), criterion, codes=codes, seed=copied.config.seed
    )
    positive = chosen["positive"]
    assert positive.threshold == expected and expected < 0.5
    change = positive.cross_fitted["f1"]
    assert change.default == 0 < change.difference.low
    assert positive.in_sample["f1"] >= change.value - 0.05


@pytest.mark.parametrize(
    ("text", "low", "high", "warns"),
    [
        ("f1", -0.03, -0.01, True),
        ("f1", -0.03, 0.01, False),
        ("recall>=0.9", -0.03, -0.01, False),
    ],
)
def test_threshold_that_is_clearly_worse_is_warned_of(
    text: str, low: float, high: float, warns: bool
) -> None:
    criterion = criterion_of(text)
    difference = Interval((low + high) / 2, low, high)
    change = ThresholdChange(value=0.4, default=0.4 - difference.value, difference=difference)
    changes = {criterion.measure: change}
    chosen = ChosenThreshold(threshold=0.2, criterion=text, cross_fitted=changes)
    sentence = _worse_sentence({"positive": chosen}, criterion)
    assert bool(sentence) is warns
    if warns:
        assert sentence.startswith(f"The threshold {criterion.text} is worse than")
        several = _worse_sentence(dict.fromkeys("abcde", chosen), criterion)
        assert " for a, b, c and 2 more: " in several and several.count("instead of") == 1


def test_threshold_of_an_ensemble_is_chosen_on_its_cross_fitted_predictions(
    copied: Setting,
) -> None:
    corpus, _ = study_of(copied)
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3]] * 30)
    rows = Rows(np.array([0, 1] * 30), probabilities, np.arange(60), np.arange(60))
    ensemble: Any = SimpleNamespace(held_out=rows)
    chosen: Any = SimpleNamespace(trial=SimpleNamespace(number=0), config=copied.config)
    thresholds = thresholds_of(
        chosen, ensemble, corpus, criterion_of("precision>=0.9"), warn=pytest.fail
    )
    assert thresholds["positive"].threshold == pytest.approx(0.2)


def test_threshold_without_predictions_or_out_of_reach_is_refused(copied: Setting) -> None:
    corpus, _ = study_of(copied)
    with pytest.raises(StudyError, match="confirm"):
        thresholds_of(chosen_of(copied), None, corpus, criterion_of("f1"), warn=pytest.fail)
    given = thresholds_of(chosen_of(copied), None, corpus, criterion_of("0.3"), warn=pytest.fail)
    assert given["positive"].threshold == 0.3
    assert (
        thresholds_of(chosen_of(copied), None, corpus, criterion_of("0.50"), warn=pytest.fail) == {}
    )
    kept = np.full((len(corpus.split("validation").labels), 2), 0.5, np.float32)
    write_probabilities(confirm_best(copied, study_of(copied)[1]), kept)
    with pytest.raises(StudyError, match=r"highest precision for positive is 0\.\d+, with"):
        thresholds_of(
            chosen_of(copied), None, corpus, criterion_of("precision>=0.99"), warn=pytest.fail
        )


def test_lost_predictions_of_a_confirmation_that_is_over_need_a_further_seed(
    copied: Setting,
) -> None:
    corpus, _ = write_repeat(copied)
    shutil.rmtree(copied.folder.path / "repeats")
    stored = Confirmation.load(copied.folder)
    assert stored
    replace(stored, seeds=[1]).save(copied.folder)
    with pytest.raises(StudyError, match=r"confirm STUDY=s .* SEEDS=2`, or give a number"):
        thresholds_of(chosen_of(copied), None, corpus, criterion_of("f1"), warn=pytest.fail)


def test_export_of_numbers_without_a_repeat_says_what_gives_intervals(copied: Setting) -> None:
    corpus, _ = study_of(copied)
    said: list[str] = []
    assert margin_rows(chosen_of(copied), corpus, warn=said.append) is None
    (sentence,) = said
    assert "have no intervals: no repeat of trial" in sentence and "confirm STUDY=s " in sentence
    corpus, kept = write_repeat(copied)
    rows = margin_rows(chosen_of(copied), corpus, warn=pytest.fail)
    assert rows is not None and len(rows.labels) == len(kept)


def test_export_of_a_trial_that_is_no_finalist_names_the_trial(copied: Setting) -> None:
    corpus, _ = write_repeat(copied)
    chosen = chosen_of(copied)
    chosen.trial = next(t for t in chosen.study.summary.ranked if t is not chosen.trial)
    said: list[str] = []
    assert margin_rows(chosen, corpus, warn=said.append) is None
    with pytest.raises(StudyError, match="or give a number") as refused:
        thresholds_of(chosen, None, corpus, criterion_of("f1"), warn=pytest.fail)
    for message in (*said, str(refused.value)):
        assert f"trial {chosen.trial.number} is no finalist" in message
        assert "Leave trial out" in message and "STUDY" not in message


STARS = Order(("1", "2", "3"))


@pytest.mark.parametrize(
    ("target", "named"),
    [
        (numbered(3), "kind 'classes' with 3 names"),
        (Number(), "has numbers"),
        (STARS, "kind 'order' with 3 names"),
    ],
)
def test_threshold_of_other_targets_is_refused(target: Any, named: str) -> None:
    with pytest.raises(StudyError, match=named):
        require_thresholds(target)


def test_report_says_what_another_threshold_would_bring(copied: Setting) -> None:
    assert threshold_advice(StudyHandle.of(copied.results, "s")) == ""
    corpus, _ = write_repeat(copied)
    advice = threshold_advice(StudyHandle.of(copied.results, "s"))
    assert "F1 is" in advice and "instead of 0.0000 at 0.5" in advice and "f1`." in advice
    page, _ = write_report(StudyHandle.of(copied.results, "s"))
    assert "cross-fitted on" in page.read_text()
    labels = corpus.split("validation").labels
    write_probabilities(
        confirm_best(copied, study_of(copied)[1]), np.eye(2, dtype=np.float32)[labels]
    )
    assert threshold_advice(StudyHandle.of(copied.results, "s")) == ""


@settings(max_examples=30)
@given(
    n_labels=st.sampled_from([1, 2, 3]),  # 1: two classes
    seed=st.integers(0, 10_000),
    is_equal=st.booleans(),
)
def test_code_of_the_card_and_the_saved_model_decide_as_the_target(
    n_labels: int, seed: int, is_equal: bool
) -> None:
    rng = np.random.default_rng(seed)
    outputs = rng.random((20, n_labels)).astype(np.float32)
    # A threshold that is a probability decides for the class, in float32 and in float64.
    chosen = outputs[3].astype(float) if is_equal else rng.random(n_labels)
    names, thresholds = ('"a"', "b'", "c")[: max(n_labels, 2)], tuple(chosen.tolist())
    kind = Classes if n_labels == 1 else MultiLabel
    target = Target.of_document(kind(names, thresholds=thresholds).document())
    predictions = target.predictions(outputs)
    expected = target.labels_of(target.decide(predictions))
    if n_labels == 1:
        assert expected == [names[int(p >= thresholds[0])] for p in predictions[:, 1]]
    of_tensor = target.classify(tf.constant(predictions.astype(np.float32)))["label"]
    assert [label.decode() for label in of_tensor.numpy()] == expected
    printed = io.StringIO()
    snippets = templates_of("tuning.export").get_template("snippets.md").module
    with contextlib.redirect_stdout(printed):
        exec(snippets.shown("given", target), {"np": np, "given": outputs})
    labels = ast.literal_eval(printed.getvalue().splitlines()[-1])
    assert [";".join(each) if n_labels > 1 else each for each in labels] == expected


@pytest.mark.slow
def test_export_decides_alike_everywhere(copied: Setting) -> None:
    corpus, _ = write_repeat(copied)
    choice = ExportChoice(criterion=criterion_of("f1"))
    handle = StudyHandle.of(copied.results, "s")
    manifest = export_best(handle, choice)
    folder, (threshold,) = copied.folder.best_dir, manifest.thresholds
    assert threshold < 0.3
    texts = ["I love it", "It broke after a day", *["good", "bad", "great", "broken"]]
    probabilities = load_fastest(folder, manifest)(texts)[:, 1]
    expected = ["positive" if p >= threshold else "negative" for p in probabilities]
    assert load_export(folder).predict(texts)["label"].tolist() == expected

    signature = tf.saved_model.load(str(folder / "saved_model")).signatures["classify"]
    answer = signature(text=tf.constant(texts))
    assert [label.decode() for label in answer["label"].numpy()] == expected
    own = np.where(np.array(expected) == "positive", probabilities, 1 - probabilities)
    assert answer["probability"].numpy() == pytest.approx(own, abs=1e-4)

    card = (folder / "README.md").read_text()
    assert card.count(f"[float(p) >= {threshold}]") == 5  # all formats but the SavedModel

    # Accuracy, F1 and the matrix are those of the threshold; AUC is as before.
    target = read_manifest(folder).target
    seen = read_predictions(copied.folder.test_predictions_path, target)
    assert seen is not None
    best = manifest.scores["best"]
    assert best.test["accuracy"] == pytest.approx(seen.is_right.mean())
    at_default = TWO.score(seen.labels, seen.probabilities)
    assert best.test["auc"] == pytest.approx(at_default["auc"])
    change = manifest.chosen_thresholds["positive"].test["f1"]
    assert (change.value, change.default) == pytest.approx((best.test["f1"], at_default["f1"]))
    # Models are compared with 0.5 for both.
    linear = manifest.references["tuned n-grams + logistic regression"]
    difference = manifest.comparisons["tuned n-grams + logistic regression"].accuracy_difference
    assert difference is not None and linear.test["accuracy"] is not None
    assert difference.value == pytest.approx(at_default["accuracy"] - linear.test["accuracy"])
    page, _ = write_report(StudyHandle.of(copied.results, "s"))
    for sentence in threshold_sentences(manifest):
        assert sentence.split(",")[0] in page.read_text()
    quality = read_quality(StudyHandle.of(copied.results, "s"), corpus, columns={})
    assert quality is not None and quality[0].target == target
    assert full_manifest(folder) == manifest
    assert load_export(folder).scores["accuracy"][0] == best.test["accuracy"]
