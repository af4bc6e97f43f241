"""The split `random`: 70/15/15 by distinct text, stratified by class."""

import numpy as np
import numpy.typing as npt

from tuning.data.sources import Reviews
from tuning.errors import DataError

SENTENCE = "The splits are stratified, and no text is in two of them."
COLUMN: str | None = None

SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}
# With fewer texts of a class, the two small splits would have at most one of them.
MIN_TEXTS_PER_CLASS = 10


def assign(reviews: Reviews, texts: npt.NDArray[np.int64], *, seed: int) -> npt.NDArray[np.int8]:
    # Imported here because the import takes 2 s, and prediction does not need it.
    from sklearn.model_selection import train_test_split

    strata = reviews.labels[np.unique(texts, return_index=True)[1]]
    counts = np.bincount(strata, minlength=len(reviews.class_names))
    if counts.min() < MIN_TEXTS_PER_CLASS:
        name = reviews.class_names[int(counts.argmin())]
        raise DataError(
            f"Each class must have {MIN_TEXTS_PER_CLASS} different texts or more, for three splits;"
            f" {name!r} has {counts.min()}. Leave the class out, or merge it with another."
        )
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
