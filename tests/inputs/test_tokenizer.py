"""The tokenizer in each export returns the tokens and ids of the training pipeline, and needs only
the standard library.
"""

import ast
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.texts import TEXTS
from tuning.atomic_io import write_json
from tuning.inputs import tokenizer
from tuning.inputs.arrow_tokenizer import tokenize
from tuning.inputs.corpus import encode
from tuning.inputs.token_ids import WordView
from tuning.inputs.tokenizer import load_tokenizer, make_encoder

WORDS = ["a", "b", "é", "ab", "日", "\0", "a\0", "\x1c", "\x85", "unk", "É", "c"]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "vocabulary.txt"
    path.write_bytes("\n".join(WORDS).encode())
    return path


@pytest.mark.parametrize("truncating", ["pre", "post", "middle"])
@pytest.mark.parametrize("vocab_size", [3, 8, 14, 100])
def test_ids_are_those_of_the_pipeline(vocabulary: Path, truncating: str, vocab_size: int) -> None:
    inputs = {"vocab_size": vocab_size, "sequence_length": 5, "truncating": truncating}
    write_json(vocabulary.with_name("export.json"), {"input": inputs})
    tokenize = load_tokenizer(vocabulary.parent)

    @settings(max_examples=100)
    @given(st.lists(TEXTS, min_size=1, max_size=6))
    @example(["", "a b é ab 日 \0 a\0 c", "A, B! [UNK] 😀", "".join(map(chr, range(128)))])
    def check(texts: list[str]) -> None:
        view = WordView(encode(texts, WORDS), vocab_size, 5, truncating)
        assert tokenize(texts) == {"ids": view.batch(np.arange(len(texts))).tolist()}

    check()


@settings(max_examples=200)
@given(st.lists(TEXTS, max_size=8))
@example(["".join(map(chr, range(128))), "", "ÿ ", " "])
@example([])
def test_tokenize_gives_the_tokens_of_each_text(texts: list[str]) -> None:
    tokens = tokenize(texts)
    words, ends = tokens.words.take(tokens.ids).to_pylist(), [0, *tokens.lengths.cumsum()]
    of_texts = [words[start:end] for start, end in itertools.pairwise(ends)]
    assert of_texts == [tokenizer.split(text) for text in texts]


def test_lone_surrogate_is_a_question_mark_which_goes(vocabulary: Path) -> None:
    tokenize = make_encoder(vocabulary, vocab_size=14, sequence_length=5, truncating="pre")
    assert tokenize("a\ud800 \udfffb \ud800") == tokenize("a b")


def test_empty_vocabulary_knows_no_word(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.txt").write_bytes(b"")
    assert make_encoder(
        tmp_path / "vocabulary.txt", vocab_size=3, sequence_length=4, truncating="pre"
    )("a b") == [1, 1]


def test_tokenizer_imports_the_standard_library_alone() -> None:
    tree = ast.parse(Path(tokenizer.__file__).read_text())
    names = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    used = {name.split(".")[0] for name in names}
    assert used <= {*sys.stdlib_module_names, "tokenizers"}
    # The tokenizers of other models do not need the package of pretrained encoders.
    at_the_top = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert "tokenizers" not in {node.module for node in at_the_top}
