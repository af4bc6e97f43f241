"""The hyperparameters that cut the data before a model is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuning.errors import SpaceError

if TYPE_CHECKING:
    from tuning.spaces.loading import SearchSpace

REQUIRED = ("vocab_size", "sequence_length")
NGRAMS, PRESET = "ngrams", "preset"
# The smallest value of each hyperparameter that cuts the data.
SMALLEST = {"vocab_size": 3, "sequence_length": 1, NGRAMS: 1, "ngram_vocab_size": 3}
MAX_ORDER = 3  # maximum number of words of an n-gram


def check(space: SearchSpace) -> None:
    """Refuse a space whose hyperparameters can't cut the data before a model is built.

    In a space that declares `ngrams` or `preset`, or whose models take texts, some models take no
    token ids, so `vocab_size` and `sequence_length` may be conditional there. A model that takes
    texts cuts them itself.

    Raises:
        SpaceError: `vocab_size` or `sequence_length` is conditional, or a value is too small; or
            `ngrams` is not 1, 2 or 3.
    """
    by_name = {item.name: item for item in space.hyperparameters}
    for name in () if space.takes_ngrams or space.presets or space.takes_texts else REQUIRED:
        item = by_name.get(name)
        if item is not None and item.conditions:
            raise SpaceError(
                f"A space must always declare {' and '.join(REQUIRED)}, or never; {space.name} has"
                f" {name!r} under a condition. Use hp.Fixed where it is not searched."
            )
    for item in () if space.takes_texts else space.hyperparameters:
        smallest = SMALLEST.get(item.name)
        if smallest is None:
            continue
        low = min(item.choices, default=item.default if item.low is None else item.low)
        if not isinstance(low, int | float) or low < smallest:
            raise SpaceError(
                f"{item.name} must be {smallest} or more; {space.name} allows {low!r}."
            )
        bounds = item.choices or [
            item.default,
            *(b for b in (item.low, item.high) if b is not None),
        ]
        for words in bounds if item.name == NGRAMS else ():
            if words not in range(1, MAX_ORDER + 1):
                raise SpaceError(
                    f"{NGRAMS} must be 1, 2 or 3 words; {space.name} allows {words!r}."
                )
