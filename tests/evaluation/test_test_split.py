"""The one look at the test split: what is counted, and when."""

from types import SimpleNamespace

import numpy as np
import optuna
import pytest

from tuning.data.corpus import LabelledTexts, TokenizedTexts
from tuning.evaluation.test_split import BEST, look, looks_of

TEXTS = ["good", "bad", "good", "bad"]
LABELS = np.array([1, 0, 1, 0])


CORPUS = SimpleNamespace(
    split=lambda name: LabelledTexts(TokenizedTexts(np.array([2, 3, 2, 3]), np.arange(5)), LABELS)
)


def right(texts: TokenizedTexts) -> np.ndarray:
    return np.eye(2)[LABELS]


def broken(texts: TokenizedTexts) -> np.ndarray:
    raise MemoryError


def look_with(study: optuna.Study, reference: object) -> None:
    classifiers = {BEST: right, "reference": reference}
    names = ["negative", "positive"]
    look(study, CORPUS, classifiers, trials={BEST: 3}, test_texts=TEXTS, class_names=names, seed=0)


def test_look_is_counted() -> None:
    study = optuna.create_study()
    look_with(study, right)
    assert [one.trials for one in looks_of(study)] == [{BEST: 3}]


def test_model_that_fails_on_the_test_texts_costs_no_look() -> None:
    study = optuna.create_study()
    with pytest.raises(MemoryError):
        look_with(study, broken)
    assert looks_of(study) == []
