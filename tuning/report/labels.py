"""Labels to check: the rows whose label the models of the folds contradict most surely."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tuning.errors import DataError
from tuning.evaluation.out_of_sample import out_of_sample
from tuning.study.handle import StudyHandle
from tuning.study.prepare import prepare_corpus
from tuning.targets.target import likelihoods

N_LABELS = 20


def labels_to_check(study: StudyHandle) -> tuple[pd.DataFrame, float] | None:
    """Return rows whose label is not the decision of the mean over the repeats of the best
    configuration, with the least probable label first; None if no repeat has kept probabilities of
    folds, or if the data, which are read again, have moved.

    The columns are label, predicted, probability (of the label; the least of several) and text. The
    number is that of the rows of all folds whose label would be at most as probable as that of the
    last row, if the labels were drawn from the probabilities.
    """
    confirmation, best, config = study.confirmation, study.best, study.config
    if config.train.n_folds == 1 or confirmation is None or best is None:
        return None
    try:
        corpus, splits = prepare_corpus(config, results=study.results)
        splits.require_fingerprint(study.record.data_fingerprint)
    except DataError:
        return None
    target = splits.target
    found = out_of_sample(study.folder, corpus, confirmation, trial=best.trial.number)
    if found is None or not target.has_probabilities:
        return None
    texts = splits.frame_of_rows["text"].to_numpy()
    mean, labels = found.predictions, found.labels
    if target.is_exclusive:
        mean = mean / mean.sum(axis=1, keepdims=True)
    every = mean if target.is_exclusive else np.stack([mean, 1 - mean])
    decided, of_label = target.decide(mean), likelihoods(labels, mean).min(axis=-1)
    order = np.argsort(of_label, kind="stable")
    order = order[~target.is_right(labels, mean)[order]][:N_LABELS]
    rows = pd.DataFrame(
        {
            "label": target.labels_of(labels[order]),
            "predicted": target.labels_of(decided[order]),
            "probability": of_label[order].round(4),
            "text": texts[found.places[order]],
        }
    )
    return rows, float(every[every <= of_label[order].max(initial=0.0)].sum())
