"""The tokens of a text that a model knows. A text without a known token, such as one in another
language, gets the same prediction as every other such text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tuning.inference.manifest import Manifest, verify
from tuning.inference.runtimes import NGRAM_VOCABULARY, PRESET_TOKENIZER, VOCABULARY, vocabularies
from tuning.inputs.tokenizer import FIRST_WORD_ID, as_utf8, load_preset_tokenizer, split

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
    count = _counter(folder, manifest)
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


def _counter(folder: Path, manifest: Manifest) -> Callable[[str], tuple[int, int]] | None:
    """Return a function from a text to its numbers of known tokens and of tokens; None if no token
    counts as unknown.
    """
    inputs = manifest.input
    if inputs.preset:
        return _counter_of_tokenizer(folder / PRESET_TOKENIZER)
    if inputs.takes_texts:
        return None
    words: set[bytes] = set()
    for name, n_rows in (
        (VOCABULARY, inputs.vocab_size),
        (NGRAM_VOCABULARY, inputs.ngram_vocab_size),
    ):
        if n_rows:
            lines = (folder / name).read_bytes().split(b"\n")[: n_rows - FIRST_WORD_ID]
            words.update(line for line in lines if b" " not in line)

    def count(text: str) -> tuple[int, int]:
        tokens = split(text)
        return sum(map(words.__contains__, tokens)), len(tokens)

    return count


def _counter_of_tokenizer(path: Path) -> Callable[[str], tuple[int, int]] | None:
    model = json.loads(path.read_bytes())["model"]
    tokenizer = load_preset_tokenizer(path)
    name = model.get("unk_token")
    unknown = model.get("unk_id") if name is None else tokenizer.token_to_id(name)
    if unknown is None:
        return None

    def count(text: str) -> tuple[int, int]:
        ids = tokenizer.encode(as_utf8(text), add_special_tokens=False).ids
        return len(ids) - ids.count(unknown), len(ids)

    return count
