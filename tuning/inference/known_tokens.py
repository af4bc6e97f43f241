"""The tokens of a text that a model knows. A text without a known token, such as one in another
language, gets the same prediction as every other such text.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tuning.inference.manifest import Manifest, verify
from tuning.inference.runtimes import vocabularies
from tuning.inputs.kinds import kinds_in
from tuning.inputs.tokenizer import split

# The tokens of a whole text are counted only if few in its beginning are known. Counting all tokens
# of an Amazon review takes 10 to 25 of the 130 µs of its prediction; with this limit, 25,854
# predictions took 3.5 instead of 3.4 s of CPU.
HEAD_CHARACTERS = 100

ProblemOf = Callable[[str], str]
"""A function from a text to "N of M tokens are known", or to "" if enough tokens are known."""


def load_problem_of(folder: Path, manifest: Manifest) -> ProblemOf:
    """Return the function that says how many tokens of a text are known, if none or less than half
    are known, in the whole text and in its first `HEAD_CHARACTERS`.

    A token is known if it is a word of one of the model's vocabularies. The function returns "" for
    each text of a pretrained encoder and of a model that takes texts.
    """
    verify(folder, manifest, vocabularies(manifest.input))
    words: set[bytes] = set()
    for kind in kinds_in(manifest.input):
        own = kind.words(folder, manifest.input)
        if own is None:
            return no_problem
        words |= own

    def count(text: str) -> tuple[int, int]:
        tokens = split(text)
        return sum(map(words.__contains__, tokens)), len(tokens)

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
