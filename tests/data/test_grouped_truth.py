"""Of a study with groups, the confirmed value is what rows of new groups will have."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from tests.confirmations import SEEDS, estimated, with_repeats
from tuning.data.redraw import redrawn
from tuning.data.rows import Redraw, Rows
from tuning.data.splits import SHARES
from tuning.evaluation.statistics import Interval, mean_interval

N_PRODUCTS, N_NEW, N_REVIEWS = 300, 1_000, 10
STRENGTHS = {0: 1.0, 1: 0.1, 2: 10.0}  # C by trial; trial 0 is the baseline
SHARE = SHARES["validation"] / (SHARES["train"] + SHARES["validation"])


def errors(kind: str) -> Interval:
    """Return the mean over 20 tables of the confirmed value minus the accuracy on new products,
    whose rows are split by their `kind`."""
    return mean_interval([error(seed, kind) for seed in range(20)])


def error(table: int, kind: str) -> float:
    """A text is the name of its product, of whose reviews 20 or 80 % are good, and a word that is
    right in 70 % of the reviews.
    """
    rng = np.random.default_rng(table)
    products = np.repeat(np.arange(N_PRODUCTS + N_NEW), N_REVIEWS)
    shares = rng.choice([0.2, 0.8], size=N_PRODUCTS + N_NEW)[products]
    labels = (rng.random(len(products)) < shares).astype(np.int64)
    words = np.where(rng.random(len(products)) < 0.7, labels, 1 - labels)
    texts = [f"product{n} word{word}" for n, word in zip(products, words, strict=True)]
    n_rows = N_PRODUCTS * N_REVIEWS
    features = CountVectorizer().fit(texts[:n_rows]).transform(texts)

    groups = products[:n_rows] if kind == "group" else None
    rows = Rows(np.arange(n_rows), labels[:n_rows], groups=groups)
    new = slice(n_rows, None)
    values, truths = ({trial: [] for trial in STRENGTHS} for _ in range(2))
    for seed in SEEDS[:3]:
        redraw = Redraw(seed=seed)
        ((train, validation),) = redrawn(rows, redraw, validation_share=SHARE)
        for trial, strength in STRENGTHS.items():
            model = LogisticRegression(C=strength, solver="liblinear")
            model.fit(features[train], labels[train])
            values[trial].append(model.score(features[validation], labels[validation]))
            truths[trial].append(model.score(features[new], labels[new]))
    confirmation = replace(with_repeats(values), overlap=SHARE / (1 - SHARE))
    estimates = estimated(confirmation)
    trial = estimates.best.trial
    return estimates.means[trial].value - float(np.mean(truths[trial]))


@pytest.mark.slow
def test_confirmed_value_of_groups_is_the_accuracy_on_new_groups() -> None:
    of_groups = errors("group")
    assert abs(of_groups.value) < 0.005
    assert of_groups.low < 0 < of_groups.high
    assert errors("random").low > 0.05
