"""The effects of words on a prediction: the model predicts the text again for each word, with that
word hidden.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from tuning.inputs.contract import ModelInput
from tuning.inputs.kinds import IDS, NGRAMS, kinds_in
from tuning.inputs.tokenizer import split, truncated
from tuning.targets.target import Array, Target, likelihoods

# Maximum number of different words that are hidden for one explanation; an explanation contains the
# number of words that were left out.
MAX_WORDS = 200
# Maximum number of characters of all texts that the model predicts for one explanation.
MAX_CHARACTERS = 2_000_000
# A character of Unicode's private use is in no vocabulary, so it is an unknown word for the model.
_HIDDEN = "\ue000"
# Spaces and pieces of text alternate in the result of `split`.
_PIECE = re.compile("([^\t\n\x0b\x0c\r ]+)")


@dataclass(frozen=True)
class Word:
    word: str
    count: int
    effect: float


@dataclass(frozen=True)
class Hidden:
    """A text and its copies with a hidden word.

    `texts` are the part of the text that is the model's input, then a copy for each of `words`
    without that word. `n_left_out` is the number of words over the limits, which are not hidden.
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]
    texts: tuple[str, ...]
    n_left_out: int


def hide_words(text: str, inputs: ModelInput) -> Hidden:
    """Return a copy of a text for each different word of the model's input, with the word hidden at
    every place.

    A model with other inputs than token ids and n-grams, such as a pretrained encoder, may split a
    text in another way. Such a model gets the whole text, with its spaces and punctuation.
    """
    parts, separator = _PIECE.split(text), ""
    # Spaces, and pieces that consist of punctuation, have no token.
    tokens = [b"".join(split(part)).decode() for part in parts]
    if {*kinds_in(inputs)} <= {IDS, NGRAMS}:
        visible, separator = [n for n, token in enumerate(tokens) if token], " "
        if not inputs.ngrams:  # A model of n-grams takes the whole text.
            visible = truncated(visible, inputs.sequence_length, inputs.truncating)
        parts, tokens = ([each[n] for n in visible] for each in (parts, tokens))
    counts = Counter(filter(None, tokens))
    words = [*counts][: min(MAX_WORDS, MAX_CHARACTERS // max(sum(map(len, parts)), 1))]
    copies = (
        separator.join(
            _HIDDEN if token == word else part for part, token in zip(parts, tokens, strict=True)
        )
        for word in words
    )
    return Hidden(
        words=tuple(words),
        counts=tuple(counts[word] for word in words),
        texts=(separator.join(parts), *copies),
        n_left_out=len(counts) - len(words),
    )


def effects(hidden: Hidden, probabilities: Array, target: Target) -> list[Word]:
    """Return the words with their effects, the largest effect first, without the words without
    which the model gives NaN. `probabilities` are those of `hidden.texts`, (n_texts, width).
    """
    of_label = probabilities[:, 0]
    if target.has_probabilities:
        decided = np.repeat(target.decide(probabilities[:1]), len(probabilities), axis=0)
        of_label = likelihoods(decided, probabilities).prod(axis=-1)
    lost = (of_label[0] - of_label[1:]).tolist()
    words = [
        Word(word, count, round(effect, 6) + 0.0)  # Adding 0.0 makes 0.0 out of -0.0.
        for word, count, effect in zip(hidden.words, hidden.counts, lost, strict=True)
        if not math.isnan(effect)
    ]
    return sorted(words, key=lambda word: -abs(word.effect))
