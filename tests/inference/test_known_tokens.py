"""How many tokens of a text a model knows, for each kind of input."""

from pathlib import Path
from typing import Any

import pytest

from tests.servers import MANIFEST
from tuning.errors import ExportError
from tuning.inference.known_tokens import ProblemOf, load_problem_of
from tuning.inference.manifest import Manifest, digests
from tuning.inputs.contract import ModelInput


def problem_of_model(folder: Path, **inputs: Any) -> ProblemOf:
    """Return the function of a model with these inputs, whose vocabularies are in a folder."""
    sizes = {"vocab_size": 0, "sequence_length": 0, "truncating": "pre", **inputs}
    fields = {**vars(MANIFEST), "input": ModelInput(**sizes), "files": digests(folder)}
    return load_problem_of(folder, Manifest(**fields))


WORDS = {"vocab_size": 4, "sequence_length": 8}


def of_words(folder: Path) -> ProblemOf:
    (folder / "vocabulary.txt").write_text("good\nfilm\nrare")
    return problem_of_model(folder, **WORDS)


@pytest.mark.parametrize(
    ("words", "ngrams", "inputs"),
    [
        ("good\nfilm\nrare", "", WORDS),
        ("", "good\ngood film\nfilm\nrare", {"ngrams": 2, "ngram_vocab_size": 5}),
        ("good\nrare", "film", {**WORDS, "vocab_size": 3, "ngrams": 1, "ngram_vocab_size": 3}),
    ],
)
def test_text_with_less_than_half_known_tokens_has_a_problem(
    words: str, ngrams: str, inputs: dict[str, int], tmp_path: Path
) -> None:
    (tmp_path / "vocabulary.txt").write_text(words)
    (tmp_path / "ngrams.txt").write_text(ngrams)
    problem_of = problem_of_model(tmp_path, **inputs)
    assert problem_of("una buena compra") == "0 of 3 tokens are known"
    assert problem_of("una good compra") == "1 of 3 tokens are known"
    assert problem_of("rare") == "0 of 1 tokens are known"
    assert problem_of("good compra") == ""
    assert problem_of("") == "0 of 0 tokens are known"


def test_word_of_another_case_or_with_punctuation_is_known(tmp_path: Path) -> None:
    problem_of = of_words(tmp_path)
    assert problem_of("GOOD, film!") == ""
    assert problem_of("👍 👎") == "0 of 2 tokens are known"
    assert problem_of("\ud800") == "0 of 0 tokens are known"


def test_long_text_has_a_problem_if_its_beginning_has_one_too(tmp_path: Path) -> None:
    problem_of = of_words(tmp_path)
    assert problem_of("good " * 20 + "malo " * 80) == ""
    assert problem_of("malo " * 20 + "good " * 80) == ""
    assert problem_of("malo " * 80 + "good " * 20) == "20 of 100 tokens are known"


def test_model_with_a_vocabulary_of_its_own_has_no_problems(tmp_path: Path) -> None:
    assert problem_of_model(tmp_path)("una buena compra") == ""
    (tmp_path / "tokenizer.json").write_text("{}")
    of_tokens = problem_of_model(tmp_path, preset="p", sequence_length=8)
    assert of_tokens("una buena compra") == ""


def test_changed_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.txt").write_text("good")
    fields = {**vars(MANIFEST), "files": digests(tmp_path)}
    (tmp_path / "vocabulary.txt").write_text("bad")
    with pytest.raises(ExportError, match="SHA-256"):
        load_problem_of(tmp_path, Manifest(**fields))
