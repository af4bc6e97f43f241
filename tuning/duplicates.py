"""Configurations that are the same on a study's data: with the same seed, training one tells what the other gives.

Knows no Keras and no Optuna.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tuning.tokenizer import FIRST_WORD_ID
from tuning.vocabulary import Corpus


@dataclass
class Configurations:
    """The configurations of a study, as its data let them be, and the trial that had each first.

    `n_rows`: the embedding rows that the corpus can fill; `longest`: tokens of the longest text of training and validation.
    """

    n_rows: int
    longest: int
    trials: dict[Hashable, int] = field(default_factory=dict)

    @classmethod
    def of(cls, corpus: Corpus, *, exact: bool = False) -> Self:
        """`exact`: where the size of a model counts, more rows or steps than the data fill are not the same."""
        if exact:
            return cls(sys.maxsize, sys.maxsize)
        longest = max(int(corpus.split(name).texts.lengths.max(initial=1)) for name in ("train", "validation"))
        return cls(int(corpus.card["n_words"]) + FIRST_WORD_ID, longest)

    def key(self, values: Mapping[str, Any], *, ignores_padding: bool) -> Hashable:
        """Equal for configurations that train the same: no vocabulary beyond the corpus, no ignored padding beyond the longest text."""
        cut = {**values, "vocab_size": min(int(values["vocab_size"]), self.n_rows)}
        if ignores_padding:
            cut["sequence_length"] = min(int(values["sequence_length"]), self.longest)
        return (ignores_padding, *sorted(cut.items()))

    def first(self, values: Mapping[str, Any]) -> int | None:
        """The trial that has had this configuration; whether its model ignores padding is known only of those that were built."""
        keys = (self.key(values, ignores_padding=ignores) for ignores in (True, False))
        return next((self.trials[key] for key in keys if key in self.trials), None)

    def add(self, number: int, values: Mapping[str, Any], *, ignores_padding: bool = False) -> None:
        """Note what a trial has, or may be found to have once its model is built."""
        self.trials.setdefault(self.key(values, ignores_padding=ignores_padding), number)

    def forget(self, number: int) -> None:
        """Leave a failed trial out: what would have been its result is not known."""
        self.trials = {key: trial for key, trial in self.trials.items() if trial != number}
