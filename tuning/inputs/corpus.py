"""A tokenized data set on disk: token ids ordered by frequency, in files that studies and workers
map into memory.

The ids equal those of `keras.layers.TextVectorization` with its default standardization and split,
adapted to the texts in which words are counted: the training split and, in new studies with folds,
the validation split. A trial cuts them to its `vocab_size`, because a smaller vocabulary
is a prefix of a larger one. No TensorFlow runs.
"""

import contextlib
import logging
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tuning import documents
from tuning.atomic_io import write_arrays
from tuning.config import SPLITS, counted_splits, given
from tuning.data.files import Progress
from tuning.data.folders import checksums_of, locked, rebuilt
from tuning.data.rows import Rows
from tuning.data.sources import labels_in
from tuning.data.splits import SplitReviews
from tuning.data.text_bytes import map_chunks, offsets_of
from tuning.errors import StorageError
from tuning.inputs.arrow_tokenizer import Tokens, number_words, tokenize, unknown_share
from tuning.inputs.contract import LabeledTexts, TokenizedTexts
from tuning.inputs.data_card import (
    CARD_NAME,
    DataCard,
    DataSource,
    describe,
    is_corpus_of,
    read_card,
)
from tuning.inputs.kinds import KINDS
from tuning.inputs.tokenizer import FIRST_WORD_ID
from tuning.targets.target import Target

logger = logging.getLogger(__name__)

ROWS_NAME = "rows.npz"


@dataclass(frozen=True)
class Corpus:
    folder: Path

    @property
    def fingerprint(self) -> str:
        return self.folder.name

    @property
    def card(self) -> DataCard:
        return read_card(self.folder)

    @property
    def target(self) -> Target:
        return self.card.target

    @property
    def is_written(self) -> bool:
        try:  # The data card of a corpus is written last.
            return bool(self.card)
        except StorageError:
            return False

    def split(self, name: str) -> LabeledTexts:
        ids = np.load(self.folder / f"{name}.ids.npy", mmap_mode="r")
        offsets = np.load(self.folder / f"{name}.offsets.npy")
        others = {
            key: stored
            for kind in KINDS.values()
            for key, stored in kind.stored(self, name).items()
        }
        texts = TokenizedTexts(ids, offsets, others=others)
        path = self.folder / f"{name}.weights.npy"
        weights = np.load(path) if path.exists() else None
        return LabeledTexts(texts, np.load(self.folder / f"{name}.labels.npy"), weights)

    @property
    def rows(self) -> Rows:
        """The rows of the training and then the validation split."""
        with (
            (self.folder / ROWS_NAME).open("rb") as file,
            np.load(file, allow_pickle=False) as stored,
        ):
            return Rows(**stored)

    @property
    def texts_dir(self) -> Path:
        return self.folder / "texts"

    @property
    def ngrams_dir(self) -> Path:
        return self.folder / "ngrams"

    @property
    def ngram_orders(self) -> npt.NDArray[np.uint8]:
        """The number of words of the n-gram of each id, uint8 (n_ids,)."""
        orders: npt.NDArray[np.uint8] = np.load(self.ngrams_dir / "orders.npy")
        return orders

    @property
    def presets_dir(self) -> Path:
        return self.folder / "presets"

    @property
    def features_dir(self) -> Path:
        return self.folder / "features"

    def ngrams(self, *, order: int, vocab_size: int) -> list[str]:
        """Return the n-grams with the ids 2, 3, … of a vocabulary of `vocab_size` rows with n-grams
        of at most `order` words.
        """
        text = (self.ngrams_dir / "vocabulary.txt").read_bytes().decode()
        of_order = np.flatnonzero(self.ngram_orders[FIRST_WORD_ID:] <= order)
        ngrams = text.split("\n")
        return [ngrams[row] for row in of_order[: max(vocab_size - FIRST_WORD_ID, 0)]]

    def words(self, vocab_size: int) -> list[str]:
        """Return the words with the ids 2, 3, … of a vocabulary of `vocab_size` rows."""
        text = (self.folder / "vocabulary.txt").read_bytes().decode()
        return (text.split("\n") if text else [])[: max(vocab_size - FIRST_WORD_ID, 0)]


def encode(texts: Iterable[str], words: list[str]) -> TokenizedTexts:
    """Return the token ids of new texts; `words` is the vocabulary in order of its ids, from 2."""
    tokens = tokenize(list(texts))
    return TokenizedTexts(tokens.numbers(words), offsets_of([tokens.lengths]))


def build_corpus(
    folder: Path,
    splits: SplitReviews,
    *,
    source: DataSource | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Return the tokenized data set in `folder`, whose name is the fingerprint. It is built unless
    the files in the folder are as they were written. `source` has the entries of the data card that
    do not come from the texts.
    """
    with locked(folder):
        if not is_corpus_of(folder, splits):
            with rebuilt(folder) as temporary:
                _write_corpus(temporary, splits, progress)
        rows, stored = splits.rows, rows_in(folder)
        # Earlier versions wrote no rows, or not which of them are learned.
        if stored is None or (stored.is_learned is None and rows.is_learned is not None):
            write_arrays(folder / ROWS_NAME, given(**vars(rows)))
        card = Corpus(folder).card
        described = replace(card, **vars(source)) if source else card
        if described != card:  # The same texts may be read from another place.
            documents.write(folder / CARD_NAME, described)
    return Corpus(folder)


def _write_corpus(folder: Path, splits: SplitReviews, progress: Progress | None) -> None:
    done, total = 0, sum(len(frame) for frame in splits.frames.values())
    chunks: dict[str, list[Tokens]] = {name: [] for name in SPLITS}
    for name, of_split in chunks.items():
        # Closing the generator ends its threads, also after an error.
        with contextlib.closing(map_chunks(tokenize, splits.frames[name]["text"])) as tokenized:
            for chunk in tokenized:
                of_split.append(chunk)
                done += len(chunk.lengths)
                if progress:
                    progress("tokenizing", done / total)
    words, numbers = number_words(chunks, counted=counted_splits(splits.counts_validation))
    for name, of_split in chunks.items():
        frame = splits.frames[name]
        _write_ids(folder / f"{name}.ids.npy", of_split, numbers[name])
        np.save(folder / f"{name}.offsets.npy", offsets_of([chunk.lengths for chunk in of_split]))
        labels = labels_in(frame).astype(splits.target.dtype)
        np.save(folder / f"{name}.labels.npy", labels)
        if "weight" in frame:
            np.save(folder / f"{name}.weights.npy", frame["weight"].to_numpy())
    (folder / "vocabulary.txt").write_bytes(b"\n".join(words))
    logger.info("tokenized %d texts", done)
    train, validation = (np.load(folder / f"{n}.ids.npy", mmap_mode="r") for n in SPLITS[:2])
    card = describe(
        splits,
        np.concatenate([chunk.lengths for of_split in chunks.values() for chunk in of_split]),
        n_words=len(words),
        unknown_share=unknown_share(
            validation, n_words=len(words), train=train if splits.counts_validation else None
        ),
    )
    whole = replace(card, checksums=checksums_of(folder, pattern="*"))
    documents.write(folder / CARD_NAME, whole)


def _write_ids(path: Path, chunks: list[Tokens], numbers: list[npt.NDArray[np.int32]]) -> None:
    header = np.lib.format.header_data_from_array_1_0(np.empty(0, np.int32))
    header["shape"] = (sum(len(chunk.ids) for chunk in chunks),)
    # Not `np.save`, which needs all ids in one array, and does not say why a file can't be written.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk, ids in zip(chunks, numbers, strict=True):
            file.write(ids[chunk.ids].data)


def rows_in(folder: Path) -> Rows | None:
    """Return the rows of a corpus; None if their file is missing or can't be read."""
    try:
        return Corpus(folder).rows
    except (OSError, ValueError, TypeError, zipfile.BadZipFile):
        return None


def open_corpus(folder: Path) -> Corpus:
    corpus = Corpus(folder)
    if not corpus.is_written:
        raise StorageError(
            f"{folder} must contain the tokenized data, which were removed. Search again to"
            " build them."
        )
    return corpus
