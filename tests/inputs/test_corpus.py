"""The tokenized data set: its ids are those of TextVectorization, its files are written once, and
its data card describes it.
"""

import filecmp
import itertools
import resource
from dataclasses import replace
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock, Timeout
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.texts import TEXTS, make_reviews, splits_of, word_view
from tuning import atomic_io, results
from tuning.atomic_io import read_json, write_json
from tuning.config import SPLITS, DataConfig, StudyConfig
from tuning.data import text_bytes
from tuning.documents import unstructure
from tuning.errors import StorageError
from tuning.inputs import corpus as module
from tuning.inputs.arrow_tokenizer import tokenize
from tuning.inputs.contract import TokenizedTexts
from tuning.inputs.corpus import Corpus, build_corpus, encode, open_corpus
from tuning.inputs.tokenizer import FIRST_WORD_ID, UNKNOWN_ID
from tuning.study.prepare import prepare_corpus

TRAIN = ["the cat sat", "The CAT, the dog!", "a dog"]
VALIDATION = ["the bird sat", ""]
TEST = ["bird bird cat"]
# Frequencies: the 3; cat, dog 2; a, sat 1. Ties go to the greater word.
WORDS = ["the", "dog", "cat", "sat", "a"]


ASCII, SPACES = "".join(map(chr, range(128))), "a\xa0b\u2003c\x85d\x1ce"


def lists(texts: TokenizedTexts) -> list[list[int]]:
    return [texts.ids[start:end].tolist() for start, end in itertools.pairwise(texts.offsets)]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return build_corpus(tmp_path / "cache" / "abc", splits_of(TRAIN, VALIDATION, TEST))


# Ids


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    train=st.lists(TEXTS, min_size=1, max_size=6),
    other=st.lists(TEXTS, min_size=1, max_size=3),
    vocab_size=st.integers(3, 12),
    sequence_length=st.integers(1, 9),
    counts_validation=st.booleans(),
)
@example(["b a", "a b", "c"], ["c b a d"], 4, 3, False)
@example(["b a", "a b", "c"], ["c b c d"], 5, 3, True)
@example(["a\0b", "a", "\0b"], ["a\0b a \0b"], 5, 3, False)
@example([ASCII], [ASCII], 9, 9, False)
@example([SPACES, "ÀÉ STRASSE “q” — 日本 😀"], ["à É"], 12, 9, False)
def test_ids_equal_those_of_text_vectorization(
    tmp_path_factory: pytest.TempPathFactory,
    train: list[str],
    other: list[str],
    vocab_size: int,
    sequence_length: int,
    counts_validation: bool,
) -> None:
    counted = train + other * counts_validation
    words = tokenize(counted).words.to_pylist()
    assume(words)  # Without a word, Keras leaves its table uninitialized and can't be asked.
    assume(not any(word.endswith(b"\0") for word in words))
    layer = keras.layers.TextVectorization(
        max_tokens=vocab_size, output_sequence_length=sequence_length
    )
    layer.adapt(counted)
    splits = splits_of(train, other, other[:1], counts_validation=counts_validation)
    corpus = build_corpus(tmp_path_factory.mktemp("corpus") / "abc", splits)
    for name, texts in (("train", train), ("validation", other)):
        view = word_view(corpus.split(name).texts, vocab_size, sequence_length, truncating="post")
        np.testing.assert_array_equal(view.array(), np.asarray(layer(texts)))


def test_corpus_of_empty_texts_has_no_words(tmp_path: Path) -> None:
    corpus = build_corpus(tmp_path / "abc", splits_of(["", "!!!"], ["word"], [" "]))
    assert corpus.words(100) == []
    assert [lists(corpus.split(name).texts) for name in SPLITS] == [[[], []], [[1]], [[]]]


# Words and ids


def test_words_of_a_vocabulary_leave_out_padding_and_unknown(corpus: Corpus) -> None:
    for vocab_size, n_words in ((0, 0), (2, 0), (3, 1), (5, 3), (7, 5), (8, 5)):
        assert corpus.words(vocab_size) == WORDS[:n_words]


def test_split_gives_ids_by_frequency_labels_and_types(corpus: Corpus) -> None:
    split = corpus.split("train")
    assert lists(split.texts) == [[2, 4, 5], [2, 4, 2, 3], [6, 3]]
    assert lists(corpus.split("validation").texts) == [[2, 1, 5], []]
    assert lists(corpus.split("test").texts) == [[1, 1, 4]]
    assert isinstance(split.texts.ids, np.memmap)
    assert (len(split.texts), split.texts.lengths.tolist()) == (3, [3, 4, 2])
    dtypes = (split.texts.ids.dtype, split.texts.offsets.dtype, split.labels.dtype)
    assert dtypes == (np.int32, np.int64, np.int64)
    assert split.labels.tolist() == [0, 1, 0]


# The cache


def tokenized(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each chunk of texts is added when it is tokenized."""
    texts: list[str] = []
    monkeypatch.setattr(module, "tokenize", lambda chunk: texts.extend(chunk) or tokenize(chunk))
    return texts


def test_first_build_tokenizes_every_text_once_and_the_second_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(text_bytes, "available_cores", lambda: 1)
    monkeypatch.setattr(text_bytes, "CHUNK_BYTES", 20)
    texts = tokenized(monkeypatch)
    with caplog.at_level("INFO", "tuning"):
        for _ in range(2):
            corpus = build_corpus(tmp_path / "abc", splits_of(TRAIN, VALIDATION, TEST))
    assert texts == [*TRAIN, *VALIDATION, *TEST]
    assert caplog.messages == ["tokenized 6 texts"]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["abc"]
    assert open_corpus(corpus.folder) == corpus
    assert read_json(corpus.folder / "data_card.json") == unstructure(corpus.card)


def test_a_corpus_of_an_earlier_version_gets_the_rows_of_its_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = splits_of(["a b", "A b!", "c"], ["d", "c"], ["e"])
    corpus = build_corpus(tmp_path / "abc", splits)
    path = corpus.folder / "rows.npz"
    whole, texts = path.read_bytes(), tokenized(monkeypatch)
    for damaged in (None, whole[:100]):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        assert build_corpus(tmp_path / "abc", splits).rows.texts.tolist() == [0, 0, 1, 2, 1]
    learned = [True, True, False, True, True]
    weighted = replace(splits, known_rows=replace(splits.rows, is_learned=np.array(learned)))
    of_corpus = build_corpus(tmp_path / "abc", weighted).rows.is_learned
    assert of_corpus is not None and of_corpus.tolist() == learned
    assert texts == []


@pytest.mark.parametrize(("key", "value"), [("class_names", []), ("predicts", "of a new version")])
def test_corpus_whose_card_has_no_target_is_built_again(
    key: str, value: object, tmp_path: Path
) -> None:
    folder = tmp_path / "abc"
    card = build_corpus(folder, splits_of(TRAIN, VALIDATION, TEST)).card
    write_json(folder / "data_card.json", {**read_json(folder / "data_card.json"), key: value})
    with pytest.raises(StorageError, match=key):
        _ = Corpus(folder).card
    assert build_corpus(folder, splits_of(TRAIN, VALIDATION, TEST)).card == card


@pytest.mark.parametrize("name", ["train.ids.npy", "vocabulary.txt", "data_card.json"])
@pytest.mark.parametrize("cut", [True, False])
def test_file_that_is_not_what_was_written_is_made_again(
    name: str, cut: bool, tmp_path: Path
) -> None:
    whole = build_corpus(tmp_path / "whole", splits_of(TRAIN, VALIDATION, TEST))
    folder = tmp_path / "torn"
    build_corpus(folder, splits_of(TRAIN, VALIDATION, TEST))
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 0xFF
    (folder / name).write_bytes(data[: len(data) // 2] if cut else data)
    again = build_corpus(folder, splits_of(TRAIN, VALIDATION, TEST))
    for path in whole.folder.iterdir():
        assert (again.folder / path.name).read_bytes() == path.read_bytes()


def test_build_on_a_disk_that_fills_up_leaves_no_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_bytes, "CHUNK_BYTES", 1000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StorageError, match="File too large"):
            build_corpus(tmp_path / "abc", splits_of(["a b c"] * 1000, VALIDATION, TEST))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "abc").exists()


def test_build_raises_what_a_thread_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(texts: pd.Series) -> None:
        raise MemoryError(len(texts))

    monkeypatch.setattr(module, "tokenize", fail)
    monkeypatch.setattr(text_bytes, "CHUNK_BYTES", 1)
    with pytest.raises(MemoryError):
        build_corpus(tmp_path / "abc", splits_of(TRAIN, VALIDATION, TEST))
    assert not (tmp_path / "abc").exists()


def test_build_reports_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, float]] = []
    splits = splits_of(["a"] * 1500, ["b"] * 250, ["c"] * 250)
    monkeypatch.setattr(text_bytes, "CHUNK_BYTES", 500)
    build_corpus(tmp_path / "abc", splits, progress=lambda *both: told.append(both))
    assert told == [("tokenizing", share) for share in (0.2495, 0.4995, 0.7495, 0.75, 0.875, 1.0)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    train=st.lists(TEXTS, min_size=1, max_size=12),
    other=st.lists(TEXTS, min_size=1, max_size=6),
    n_threads=st.integers(1, 3),
    chunk_bytes=st.integers(1, 40),
)
def test_files_do_not_depend_on_threads_and_chunks(
    tmp_path_factory: pytest.TempPathFactory,
    train: list[str],
    other: list[str],
    n_threads: int,
    chunk_bytes: int,
) -> None:
    folder, splits = tmp_path_factory.mktemp("corpus"), splits_of(train, other, other[:1])
    build_corpus(folder / "one", splits)
    with (
        mock.patch.object(text_bytes, "available_cores", return_value=n_threads),
        mock.patch.object(text_bytes, "CHUNK_BYTES", chunk_bytes),
    ):
        build_corpus(folder / "many", splits)
    names = sorted(path.name for path in (folder / "one").iterdir())
    assert len(names) == 3 * len(SPLITS) + 3  # vocabulary, card and rows
    equal, *_ = filecmp.cmpfiles(folder / "one", folder / "many", names, shallow=False)
    assert equal == names


@pytest.mark.parametrize("n_tokens", [0, 3, 100_000])
def test_ids_are_written_as_numpy_writes_them(tmp_path: Path, n_tokens: int) -> None:
    corpus = build_corpus(tmp_path / "abc", splits_of(["a " * n_tokens], [""], [""]))
    np.save(tmp_path / "ids.npy", np.full(n_tokens, 2, dtype=np.int32))
    assert (corpus.folder / "train.ids.npy").read_bytes() == (tmp_path / "ids.npy").read_bytes()


def test_open_corpus_that_was_removed_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"abc must contain the tokenized data.* Search again"):
        open_corpus(tmp_path / "abc")


# The data card


def test_card_counts_rows_and_classes(corpus: Corpus) -> None:
    card = corpus.card
    assert card.n_rows == {"train": 3, "validation": 2, "test": 1}
    assert card.class_names == ["negative", "positive"]
    assert card.class_counts == {"train": [2, 1], "validation": [1, 1], "test": [1, 0]}
    assert card.majority_share == pytest.approx(4 / 6)
    assert (card.n_tokens, card.n_words, card.n_duplicates) == (15, 5, 1)
    assert card.fingerprint == "f" * 16
    assert card.unknown_share == {"7": pytest.approx(1 / 3)}


def test_card_gives_percentiles_of_all_lengths(tmp_path: Path) -> None:
    texts = [" ".join(["w"] * n) for n in range(101)]
    card = build_corpus(tmp_path / "abc", splits_of(texts[:60], texts[60:80], texts[80:])).card
    assert card.length_percentiles == {str(n): n for n in (5, 25, 50, 75, 95, 99, 100)}


def test_card_gives_the_unknown_share_of_smaller_vocabularies(tmp_path: Path) -> None:
    words = [f"w{n:04d}" for n in range(1498, 0, -1)]  # ids 2 to 1499
    card = build_corpus(
        tmp_path / "abc",
        splits_of([" ".join(words)], [f"{words[997]} {words[998]} {words[1200]} new"], [""]),
    ).card
    assert card.unknown_share == {"1000": 0.75, "1500": 0.25}


def test_words_that_training_lacks_count_as_unknown_although_the_vocabulary_has_them(
    tmp_path: Path,
) -> None:
    splits = splits_of(["a b"], ["a new new"], [""], counts_validation=True)
    corpus = build_corpus(tmp_path / "abc", splits)
    assert corpus.words(100) == ["new", "a", "b"]
    assert corpus.card.unknown_share == {"5": 2 / 3}


def test_every_write_of_a_data_card_is_made_under_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card is also written for another source of the same texts. Another process may read the
    card at that moment.
    """
    written = []
    write = atomic_io.write_bytes

    def watched(path: Path, data: bytes) -> None:
        if path.name == "data_card.json":
            with (
                pytest.raises(Timeout),
                FileLock(tmp_path / "results" / "cache" / f"{fingerprint}.lock", timeout=0),
            ):
                pass
            written.append(path)
        write(path, data)

    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    make_reviews().to_csv(first, index=False)
    second.write_bytes(first.read_bytes())
    folder = results.ResultsDir(tmp_path / "results")
    configs = [StudyConfig(study="s", data=DataConfig(data=str(path))) for path in (first, second)]
    fingerprint = prepare_corpus(configs[0], results=folder)[0].fingerprint
    monkeypatch.setattr(atomic_io, "write_bytes", watched)
    corpus = prepare_corpus(configs[1], results=folder)[0]
    assert corpus.card.data == str(second)
    assert len(written) == 1


def test_words_that_keras_can_not_keep_are_in_no_vocabulary(tmp_path: Path) -> None:
    """NumPy drops NUL at the end of a word, and its rows are as wide as the longest word."""
    blob = "x" * 5_000
    texts = [f"good\x00 good {blob} \x00 phone number{n}" for n in range(60)]
    corpus = build_corpus(tmp_path / "corpus", splits_of(texts, ["good"], ["good"]))
    words = corpus.words(1_000_000)
    assert {"good", "phone"} <= set(words)
    assert not any(word.endswith("\x00") or len(word) > 100 for word in words)
    ids = encode(["good\x00 good " + blob], words).ids.tolist()
    assert ids == [UNKNOWN_ID, FIRST_WORD_ID + words.index("good"), UNKNOWN_ID]
    keras.layers.TextVectorization(vocabulary=words)
