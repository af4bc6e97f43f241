"""The effects of words on a prediction: the model predicts the text again for each word, with that
word hidden.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tuning.data.arrow_tokenizer import tokenize
from tuning.evaluation.metrics import Array
from tuning.inference.manifest import ModelInput

# Maximum number of different words that are hidden for one explanation; an explanation contains the
# number of words that were left out.
MAX_WORDS = 200
# Maximum number of characters of all texts that the model predicts for one explanation.
MAX_CHARACTERS = 2_000_000
# A character of Unicode's private use is in no vocabulary, so it is an unknown word for the model.
_HIDDEN = "\ue000"
_PIECE = re.compile("[^\t\n\x0b\x0c\r ]+")


@dataclass(frozen=True)
class Word:
    """A word as the tokenizer writes it, its count in the text, and its effect: the probability
    that the label loses without the word.
    """

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
    """
    pieces = _PIECE.findall(text)
    tokens = tokenize(pieces)
    # A piece that consists of punctuation has no token.
    positions = np.flatnonzero(tokens.lengths)
    visible = _visible(len(positions), inputs)
    ids = tokens.ids[visible]
    kept = [pieces[position] for position in positions[visible]]
    names = tokens.words.to_pylist()
    different = list(dict.fromkeys(ids.tolist()))
    words = different[: min(MAX_WORDS, MAX_CHARACTERS // max(sum(map(len, kept)), 1))]
    return Hidden(
        words=tuple(names[word].decode() for word in words),
        counts=tuple(int((ids == word).sum()) for word in words),
        texts=(" ".join(kept), *(" ".join(_without(kept, ids == word)) for word in words)),
        n_left_out=len(different) - len(words),
    )


def _visible(n_tokens: int, inputs: ModelInput) -> npt.NDArray[np.int64]:
    """Return the positions of the words in the model's input. All words are returned for a model of
    n-grams, which takes the whole text; for a pretrained encoder, for which a word is one or more
    tokens; and for a model that takes texts, whose splitting is not known.
    """
    length, positions = inputs.sequence_length, np.arange(n_tokens)
    if inputs.ngrams or inputs.preset or inputs.takes_texts or n_tokens <= length:
        return positions
    n_last = {"pre": length, "post": 0, "middle": length // 2}[inputs.truncating]
    return np.concatenate([positions[: length - n_last], positions[n_tokens - n_last :]])


def _without(pieces: list[str], is_hidden: Array) -> list[str]:
    return [
        _HIDDEN if hide else piece for piece, hide in zip(pieces, is_hidden.tolist(), strict=True)
    ]


def effects(hidden: Hidden, probabilities: Array) -> list[Word]:
    """Return the words with their effects, the largest effect first.

    `probabilities` are the class probabilities of `hidden.texts`, a float64 array of shape
    (n_texts, n_classes).
    """
    label = int(probabilities[0].argmax())
    lost = (probabilities[0, label] - probabilities[1:, label]).tolist()
    words = [
        Word(word, count, effect)
        for word, count, effect in zip(hidden.words, hidden.counts, lost, strict=True)
    ]
    return sorted(words, key=lambda word: -abs(word.effect))
