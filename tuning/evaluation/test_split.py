"""The one look at the test split: no other module scores a model on it. Each look is recorded in
the study before it is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import optuna

from tuning.data.corpus import Corpus, TokenizedTexts
from tuning.documents import structure, unstructure
from tuning.errors import StudyError
from tuning.evaluation.metrics import Array, Labels, confusion
from tuning.evaluation.scores import (
    Comparison,
    Mistake,
    PastEvaluation,
    ScoreInterval,
    Scores,
    SplitScores,
)
from tuning.evaluation.statistics import accuracy_difference, mcnemar, score_intervals

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

    entries: dict[str, Scores]
    comparisons: dict[str, Comparison]
    mistakes: list[Mistake]
    labels: Labels


def looks_of(study: optuna.Study) -> list[PastEvaluation]:
    """The looks that have been taken: when, and at which trials.

    Raises:
        StudyError: the study's attribute was changed by another program.
    """
    try:
        return [structure(look, PastEvaluation) for look in study.user_attrs.get(LOOKS, [])]
    except ValueError as error:
        raise StudyError(
            f"The attribute {LOOKS} of study {study.study_name!r} must be as this program wrote it;"
            f" {error}. Put the attribute back as it was."
        ) from error


def named_entries(seen: SplitScores) -> dict[str, Scores]:
    """The models of a look by the names to show, each once: the baseline is not shown again where
    it is the best.
    """
    scores = seen.scores
    alone = "baseline" in scores and scores["baseline"].trial == scores[BEST].trial
    names = {name: "exported model" if name == BEST else name for name in scores}
    models = (
        {"exported baseline": scores[BEST]}
        if alone
        else {names[name]: one for name, one in scores.items()}
    )
    return {
        **{f"{name}, trial {one.trial}": one for name, one in models.items()},
        **seen.references,
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
    looks = [*looks_of(study), PastEvaluation(when=when, trials=dict(trials))]
    study.set_user_attr(LOOKS, [unstructure(one) for one in looks])
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
        name: Comparison(
            accuracy_difference=accuracy_difference(
                test.labels, found[BEST], probabilities, seed=seed
            ),
            **vars(mcnemar(test.labels, found[BEST], probabilities)),
        )
        for name, probabilities in others.items()
    }
    return Look(
        entries,
        comparisons,
        mistakes_of(test.labels, found[BEST], test_texts, class_names),
        test.labels,
    )


def entry(labels: Labels, probabilities: Array, class_names: Sequence[str], *, seed: int) -> Scores:
    """A model's scores; a score that is not defined is None."""
    intervals = {
        name: ScoreInterval.of(interval)
        for name, interval in score_intervals(labels, probabilities, seed=seed).items()
    }
    by_class = {name: intervals.pop(f"f1_{number}") for number, name in enumerate(class_names)}
    return Scores(
        test={name: interval.value for name, interval in intervals.items()},
        test_intervals={
            name: (interval.low, interval.high) for name, interval in intervals.items()
        },
        test_f1_by_class=by_class,
        test_confusion_matrix=confusion(labels, probabilities),
    )


def mistakes_of(
    labels: Labels, probabilities: Array, texts: Sequence[str], class_names: Sequence[str]
) -> list[Mistake]:
    """The wrong answers of which the model was surest, the surest first."""
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:N_MISTAKES]
    return [
        Mistake(
            text=texts[row],
            label=class_names[labels[row]],
            predicted=class_names[predicted[row]],
            probability=float(confidence[row]),
        )
        for row in rows
    ]
