"""Which words move a prediction: each is hidden once, and the model is asked again."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from tuning.data.chunks import tokenize
from tuning.evaluation.metrics import Array

# different words of one text; a text of more has the others left out, and their number said
MAX_WORDS = 200
MAX_CHARACTERS = 2_000_000  # of all texts that one explanation asks the model for
# of Unicode's private use, so in no vocabulary: the model sees an unknown word in the place of the
# hidden one
_HIDDEN = "\ue000"
_PIECE = re.compile("[^\t\n\x0b\x0c\r ]+")


@dataclass(frozen=True)
class Word:
    """A word as the model knows it, how often it stands in the text, and the probability that the
    label loses without it.
    """

    word: str
    count: int
    effect: float


@dataclass(frozen=True)
class Hidden:
    """`texts`: the text that the model sees, then that text without each of `words`; `n_left_out`
    words are too many to be hidden.
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]
    texts: tuple[str, ...]
    n_left_out: int


def hide_words(text: str, *, sequence_length: int, truncating: str) -> Hidden:
    """A text for each different word that the model sees of this one, with the word hidden
    everywhere.
    """
    pieces = _PIECE.findall(text)
    tokens = tokenize(pieces)
    is_word = np.flatnonzero(tokens.lengths)  # a piece of punctuation alone is none
    seen = slice(-sequence_length, None) if truncating == "pre" else slice(sequence_length)
    places, ids = is_word[seen], tokens.ids[seen]
    kept, names = [pieces[place] for place in places], tokens.words.to_pylist()
    different = list(dict.fromkeys(ids.tolist()))
    words = different[: min(MAX_WORDS, MAX_CHARACTERS // max(sum(map(len, kept)), 1))]
    return Hidden(
        words=tuple(names[word].decode() for word in words),
        counts=tuple(int((ids == word).sum()) for word in words),
        texts=(" ".join(kept), *(" ".join(_without(kept, ids == word)) for word in words)),
        n_left_out=len(different) - len(words),
    )


def _without(pieces: list[str], is_hidden: Array) -> list[str]:
    return [
        _HIDDEN if hide else piece for piece, hide in zip(pieces, is_hidden.tolist(), strict=True)
    ]


def effects(hidden: Hidden, probabilities: Array) -> list[Word]:
    """The words by the size of their effect, out of the class probabilities of `hidden.texts`,
    float64 array (n_texts, n_classes).
    """
    label = int(probabilities[0].argmax())
    lost = (probabilities[0, label] - probabilities[1:, label]).tolist()
    words = [
        Word(word, count, effect)
        for word, count, effect in zip(hidden.words, hidden.counts, lost, strict=True)
    ]
    return sorted(words, key=lambda word: -abs(word.effect))
