"""The one look at the test split: no other module scores a model on it. Each look is recorded in
the study before it is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import optuna

from tuning.data.corpus import Corpus, TokenizedTexts
from tuning.evaluation.metrics import Array, Labels, confusion
from tuning.evaluation.statistics import Interval, accuracy_difference, mcnemar, score_intervals

LOOKS = "test_looks"  # the study's attribute
N_MISTAKES = 20
BEST = "best"

Classifier = Callable[[TokenizedTexts], Array]


@dataclass(frozen=True)
class Look:
    """What the test split says of every model, by its name.

    `entries`: scores, intervals and confusion matrix; `comparisons`: the best against each other
    model; `mistakes`: the best model's most confident ones; `labels`: the split's own, to say what
    an exported form's rounding costs.
    """

    entries: dict[str, dict[str, Any]]
    comparisons: dict[str, dict[str, Any]]
    mistakes: list[dict[str, Any]]
    labels: Labels


def looks_of(study: optuna.Study) -> list[dict[str, Any]]:
    """The looks that have been taken: when, and at which trials."""
    return list(study.user_attrs.get(LOOKS, []))


def named_entries(seen: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The models of a look by the names to show, each once: the baseline is not shown again where
    it is the best.
    """
    scores = seen["scores"]
    alone = scores.get("baseline", {}).get("trial") == scores[BEST]["trial"]
    names = {name: "exported model" if name == BEST else name for name in scores}
    models = (
        {"exported baseline": scores[BEST]}
        if alone
        else {names[name]: one for name, one in scores.items()}
    )
    return {
        **{f"{name}, trial {one['trial']}": one for name, one in models.items()},
        **seen["references"],
    }


def look(
    study: optuna.Study,
    corpus: Corpus,
    classifiers: Mapping[str, Classifier],
    *,
    trials: Mapping[str, int],
    test_texts: Sequence[str],
    class_names: Sequence[str],
    seed: int,
) -> Look:
    """Score all models on the test split at once.

    `classifiers` give class probabilities (n_texts, n_classes) of the split's texts; `trials` are
    the numbers of the study's own. The look is recorded once every model has given its
    probabilities, and before they are compared with the labels.
    """
    test = corpus.split("test")
    found = {
        name: classify(test.texts) for name, classify in classifiers.items()
    }  # before the look: a failure here shows no label
    when = datetime.now(UTC).isoformat(timespec="seconds")
    study.set_user_attr(LOOKS, [*looks_of(study), {"when": when, "trials": dict(trials)}])
    entries = {
        name: entry(test.labels, probabilities, class_names, seed=seed)
        for name, probabilities in found.items()
    }
    others = {
        name: probabilities
        for name, probabilities in found.items()
        if trials.get(name) != trials[BEST]
    }
    comparisons = {
        name: {
            "accuracy_difference": plain(
                accuracy_difference(test.labels, found[BEST], probabilities, seed=seed)
            ),
            **mcnemar(test.labels, found[BEST], probabilities),
        }
        for name, probabilities in others.items()
    }
    return Look(
        entries,
        comparisons,
        mistakes_of(test.labels, found[BEST], test_texts, class_names),
        test.labels,
    )


def entry(
    labels: Labels, probabilities: Array, class_names: Sequence[str], *, seed: int
) -> dict[str, Any]:
    """A model's scores as plain values; a score that is not defined is None."""
    intervals = {
        name: plain(interval)
        for name, interval in score_intervals(labels, probabilities, seed=seed).items()
    }
    by_class = {name: intervals.pop(f"f1_{number}") for number, name in enumerate(class_names)}
    return {
        "test": {name: interval["value"] for name, interval in intervals.items()},
        "test_intervals": {
            name: [interval["low"], interval["high"]] for name, interval in intervals.items()
        },
        "test_f1_by_class": by_class,
        "test_confusion_matrix": confusion(labels, probabilities),
    }


def plain(interval: Interval) -> dict[str, float | None]:
    """An interval as JSON can hold it."""
    parts = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: None if math.isnan(value) else value for name, value in parts.items()}


def mistakes_of(
    labels: Labels, probabilities: Array, texts: Sequence[str], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """The wrong answers of which the model was surest, the surest first."""
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:N_MISTAKES]
    return [
        {
            "text": texts[row],
            "label": class_names[labels[row]],
            "predicted": class_names[predicted[row]],
            "probability": float(confidence[row]),
        }
        for row in rows
    ]
