"""The split `random`: 70/15/15 by distinct text, stratified by the target."""

import numpy as np
import numpy.typing as npt

from tuning.data.sources import Reviews

SENTENCE = "The splits are stratified, and no text is in two of them."
COLUMN: str | None = None

SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}


def assign(reviews: Reviews, texts: npt.NDArray[np.int64], *, seed: int) -> npt.NDArray[np.int8]:
    # Imported here because the import takes 2 s, and prediction does not need it.
    from sklearn.model_selection import train_test_split

    labels = reviews.labels[np.unique(texts, return_index=True)[1]]
    reviews.target.require_enough(labels)
    strata = reviews.target.strata(labels)
    train, rest = train_test_split(
        np.arange(len(strata)), train_size=SHARES["train"], stratify=strata, random_state=seed
    )
    validation, test = train_test_split(
        rest, test_size=0.5, stratify=strata[rest], random_state=seed
    )
    split_of = np.empty(len(strata), dtype=np.int8)
    for number, members in enumerate((train, validation, test)):
        split_of[members] = number
    return split_of[texts]
