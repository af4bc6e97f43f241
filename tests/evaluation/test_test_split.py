"""Evaluations on the test split: which evaluations are recorded, and when."""

from types import SimpleNamespace

import numpy as np
import optuna
import pytest

from tuning.data.corpus import LabeledTexts, TokenizedTexts
from tuning.errors import ExportError
from tuning.evaluation.test_split import BEST, evaluate_on_test_split, evaluations_of

TEXTS = ["good", "bad", "good", "bad"]
LABELS = np.array([1, 0, 1, 0])


CORPUS = SimpleNamespace(
    split=lambda name: LabeledTexts(TokenizedTexts(np.array([2, 3, 2, 3]), np.arange(5)), LABELS),
    card=SimpleNamespace(class_names=["negative", "positive"]),
)


def right(texts: TokenizedTexts) -> np.ndarray:
    return np.eye(2)[LABELS]


def broken(texts: TokenizedTexts) -> np.ndarray:
    raise MemoryError


def evaluate_with(study: optuna.Study, reference: object) -> None:
    classifiers = {BEST: right, "reference": reference}
    evaluate_on_test_split(
        study,
        CORPUS,
        classifiers,
        trials={BEST: 3},
        test_texts=TEXTS,
        metric="val_f1",
        seed=0,
    )


def test_evaluation_is_recorded() -> None:
    study = optuna.create_study()
    evaluate_with(study, right)
    assert [evaluation.trials for evaluation in evaluations_of(study)] == [{BEST: 3}]


def test_model_that_fails_on_the_test_texts_records_no_evaluation() -> None:
    study = optuna.create_study()
    with pytest.raises(MemoryError):
        evaluate_with(study, broken)
    assert evaluations_of(study) == []


def test_model_that_gives_nan_is_refused_before_its_evaluation_is_recorded() -> None:
    study = optuna.create_study()
    outputs = np.eye(2)[LABELS]
    outputs[1] = np.nan
    with pytest.raises(ExportError, match=r"'reference' gives NaN for 1 of 4 texts.*'bad'"):
        evaluate_with(study, lambda texts: outputs)
    assert evaluations_of(study) == []
