"""The split `random`: parts by distinct text, stratified by the target."""

from collections.abc import Sequence

import numpy as np

from tuning.data.rows import Parts, Rows
from tuning.errors import DataError

IS_ORDERED = False
SENTENCE = "The splits are stratified, and no text is in two of them."


def draw(rows: Rows, shares: Sequence[float], *, seed: int) -> Parts:
    # Imported here because the import takes 2 s, and prediction does not need it.
    from sklearn.model_selection import StratifiedKFold, train_test_split

    _, first, numbers = np.unique(rows.texts, return_index=True, return_inverse=True)
    strata = rows.strata[first]
    part_of = np.empty(len(strata), dtype=np.int8)
    rest = np.arange(len(strata))
    if len({*shares}) == 1:  # folds, for which a class may have fewer texts than there are parts
        folds = StratifiedKFold(len(shares), shuffle=True, random_state=seed)
        for number, (_, members) in enumerate(folds.split(strata, strata)):
            part_of[members] = number
        return part_of[numbers]
    for number in range(len(shares) - 1):
        try:
            members, rest = train_test_split(
                rest,
                train_size=shares[number] / sum(shares[number:]),
                stratify=strata[rest],
                random_state=seed,
            )
        except ValueError as error:
            raise DataError(
                f"The rows that are split must have enough different texts of each class for"
                f" {len(shares)} parts; scikit-learn says: {error}"
            ) from error
        part_of[members] = number
    part_of[rest] = len(shares) - 1
    return part_of[numbers]
