"""Evaluations on the test split: which evaluations are recorded, and when."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from tests.stored_documents import EXPORT
from tuning.config import DataConfig, StudyConfig
from tuning.errors import ExportError
from tuning.evaluation.scores import (
    ChosenThreshold,
    EnsembleFacts,
    EnsembleMember,
    ModelSize,
    PredictionInterval,
    SplitScores,
    ThresholdChange,
)
from tuning.evaluation.statistics import Interval, Verdict
from tuning.evaluation.test_split import (
    BEST,
    SINGLE,
    ensemble_sentences,
    evaluate_on_test_split,
    evaluations_of,
    interval_sentences,
    threshold_sentences,
)
from tuning.inputs.contract import LabeledTexts, TokenizedTexts
from tuning.targets.classes import Classes

TEXTS = ["good", "bad", "good", "bad"]
LABELS = np.array([1, 0, 1, 0])
CORPUS = SimpleNamespace(
    split=lambda name: LabeledTexts(TokenizedTexts(np.array([2, 3, 2, 3]), np.arange(5)), LABELS),
    target=Classes(("negative", "positive")),
)
RIGHT = np.eye(2)[LABELS]


def evaluate_with(study: optuna.Study, reference: np.ndarray, **columns: list[str]) -> Any:
    return evaluate_on_test_split(
        study,
        CORPUS,
        {BEST: RIGHT, "reference": reference},
        trials={BEST: 3},
        frame=pd.DataFrame({"text": TEXTS, "label": LABELS, **columns}),
        config=StudyConfig(
            study="s",
            metric="val_f1",
            data=DataConfig(group_column="product" if "group" in columns else None),
        ),
    )


def test_margin_of_large_numbers_has_no_exponent() -> None:
    coverage = Interval(0.9, 0.88, 0.92)
    interval = PredictionInterval(level=0.9, margin=17_382.25, n_residuals=57, coverage=coverage)
    document = SplitScores(
        scores={}, references={}, comparisons={}, test_looks=[], interval=interval
    )
    (sentence,) = interval_sentences(document)
    assert "90% intervals are the predictions ± 17382, by 57" in sentence


def test_evaluation_is_recorded_unless_a_model_gives_nan() -> None:
    study = optuna.create_study()
    outputs = RIGHT.copy()
    outputs[1] = np.nan
    with pytest.raises(ExportError, match=r"'reference' gives NaN for 1 of 4 texts.*'bad'"):
        evaluate_with(study, outputs)
    assert evaluations_of(study) == []
    evaluate_with(study, RIGHT)
    assert [evaluation.trials for evaluation in evaluations_of(study)] == [{BEST: 3}]


def test_exported_model_alone_has_f1_of_each_class() -> None:
    entries = evaluate_with(optuna.create_study(), RIGHT[:, ::-1]).entries
    by_class = entries[BEST].test_f1_by_class
    assert {name: score.value for name, score in by_class.items()} == {"negative": 1, "positive": 1}
    assert all(score.low is not None for score in by_class.values())
    assert entries["reference"].test_f1_by_class == {}


def test_texts_of_a_group_are_one_observation() -> None:
    reference = RIGHT.copy()
    reference[:2] = RIGHT[:2, ::-1]  # wrong on all texts of the first group, right on the others
    study = optuna.create_study()
    by_group = evaluate_with(study, reference, group=["a", "a", "b", "b"])
    assert by_group.codes.tolist() == [0, 0, 1, 1] and by_group.n_groups == 2
    assert by_group.entries["reference"].test_intervals["accuracy"] == (0, 1)
    comparison = by_group.comparisons["reference"]
    assert comparison.accuracy_difference.verdict() is Verdict.UNCLEAR
    # McNemar's test takes the texts for independent.
    assert comparison.p_value is None
    assert evaluate_with(study, reference).comparisons["reference"].p_value is not None
    # A single group says nothing about other groups.
    one = evaluate_with(study, reference, group=["a"] * 4)
    assert one.codes.tolist() == [0, 1, 0, 1] and one.n_groups is None


def test_ensemble_is_described_with_its_gain_and_both_sizes() -> None:
    members = [
        EnsembleMember(trial=7, seed=2, weight=0.75, epochs=3, hyperparameters={}),
        EnsembleMember(trial=4, seed=1, weight=0.25, epochs=1, hyperparameters={}),
    ]
    facts = EnsembleFacts(
        members=members,
        validation_difference=Interval(0.01, 0.002, 0.018),
        size=ModelSize(n_parameters=2_500_000, latency_ms=3.26),
        size_of_best=ModelSize(n_parameters=500_000, latency_ms=1.04),
    )
    document = SimpleNamespace(ensemble=facts, scores={SINGLE: SimpleNamespace(trial=7)})
    mean, gain, sizes = ensemble_sentences(document)
    assert mean.endswith("trial 7 with seed 2 (75%), trial 4 with seed 1 (25%).")
    assert "is better than trial 7 alone (+0.0100 [+0.0020, +0.0180])" in gain
    assert [*re.findall(r"[\d,.]*\d", sizes)] == ["2,500,000", "3.3", "7", "500,000", "1.0"]


@pytest.mark.parametrize("n_texts", [0, 90])
def test_thresholds_of_many_labels_have_a_sentence_each(n_texts: int) -> None:
    change = {"f1": ThresholdChange(value=0.6, default=0.5, difference=Interval(0.1, 0.0, 0.2))}
    each = ChosenThreshold(
        threshold=0.2, criterion="f1", n_texts=n_texts, cross_fitted=change, test=change
    )
    document = replace(EXPORT, chosen_thresholds=dict.fromkeys("abcd", each))
    *of_labels, compared = threshold_sentences(document)
    assert "probability of 0.2; on the test split, F1 is 0.6000 instead of 0.5000" in of_labels[0]
    assert "models are compared" in compared
    assert len(of_labels) == 4 + bool(n_texts)
    if n_texts:
        assert of_labels[-1].startswith("The thresholds were chosen for F1 on 90 texts")
    three = replace(EXPORT, chosen_thresholds=dict.fromkeys("abc", each))
    assert len(threshold_sentences(three)) == 3 * (3 if n_texts else 2) + 1
