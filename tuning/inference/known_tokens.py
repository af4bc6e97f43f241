"""The tokens of a text that a model knows. A text without a known token, such as one in another
language, gets the same prediction as every other such text.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tuning.inference.manifest import Manifest, verify
from tuning.inference.runtimes import vocabularies
from tuning.inputs.contract import Count, ModelInput
from tuning.inputs.kinds import kinds_in

# The tokens of a whole text are counted only if few in its beginning are known. Counting all tokens
# of an Amazon review takes 10 to 25 of the 130 µs of its prediction; with this limit, 25,854
# predictions took 3.5 instead of 3.4 s of CPU.
HEAD_CHARACTERS = 100

ProblemOf = Callable[[str], str]
"""A function from a text to "N of M tokens are known", or to "" if enough tokens are known."""


def load_problem_of(folder: Path, manifest: Manifest) -> ProblemOf:
    """Return the function that says how many tokens of a text are known, if none or less than half
    are known, in the whole text and in its first `HEAD_CHARACTERS`.

    A token is known if it is a word of the model's vocabulary. A pretrained encoder knows all
    tokens but the unknown token of its tokenizer. The function returns "" for each text of a model
    with a vocabulary of its own, and of a tokenizer without an unknown token.
    """
    verify(folder, manifest, vocabularies(manifest.input))
    count = _counter(folder, manifest.input)
    if count is None:
        return no_problem

    def problem_of(text: str) -> str:
        if not _are_few(*count(text[:HEAD_CHARACTERS])):
            return ""
        n_known, n_tokens = count(text)
        return f"{n_known} of {n_tokens} tokens are known" if _are_few(n_known, n_tokens) else ""

    return problem_of


def no_problem(text: str) -> str:
    return ""


def _are_few(n_known: int, n_tokens: int) -> bool:
    return n_known == 0 or 2 * n_known < n_tokens


def _counter(folder: Path, inputs: ModelInput) -> Count | None:
    """Return None if no token counts as unknown."""
    kinds = kinds_in(inputs)
    words = set[bytes]().union(*(kind.words(folder, inputs) for kind in kinds))
    # An encoder beside n-grams decides what a token is. Token ids and n-grams have the same tokens,
    # which are known if one of both vocabularies contains them.
    alone = min(kinds, key=lambda kind: kind.stands_beside)
    return alone.counter(folder, inputs, words)
