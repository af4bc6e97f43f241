"""A tokenized data set on disk: token ids ordered by frequency, in files that studies and workers
map into memory.

The ids equal those of `keras.layers.TextVectorization` with its default standardization and split,
adapted to the training texts. A trial cuts them to its `vocab_size`, because a smaller vocabulary
is a prefix of a larger one. No TensorFlow runs.
"""

import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from tuning.config import SPLITS
from tuning.data.files import Progress
from tuning.data.folders import locked, rebuilt
from tuning.data.splits import SplitReviews, SplitTexts, map_texts
from tuning.data.text_bytes import CHUNK_BYTES, offsets_of
from tuning.errors import StorageError
from tuning.inputs.arrow_tokenizer import (
    ChunkWords,
    map_ids,
    number_words,
    renumber,
    tokenize,
    unknown_share,
    write_ids,
)
from tuning.inputs.data_card import (
    CARD_NAME,
    PRESET_CARD_NAME,
    DataCard,
    DataSource,
    checksums_of,
    describe,
    is_whole,
    read_card,
    read_preset_card,
    write_card,
)
from tuning.inputs.tokenizer import FIRST_WORD_ID
from tuning.targets.target import Labels, Target

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of n texts, one after the other.

    Attributes:
        ids: int32 (n_tokens,); 1 is an unknown word, 2 the most frequent word; 0 does not occur.
        offsets: int64 (n + 1,); text i has the ids from `offsets[i]` to `offsets[i + 1]`.
        ngrams: the n-grams of the same texts; None if they were not built.
        presets: the tokens of the same texts by the name of the preset that they are for.
        raw: the same texts themselves; None if they were not stored.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    ngrams: "NgramTexts | None" = field(default=None, kw_only=True)
    presets: "Mapping[str, PresetTexts]" = field(default_factory=dict, kw_only=True)
    raw: SplitTexts | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __add__(self, other: Self) -> Self:
        both = self.presets.keys() & other.presets.keys()
        return replace(
            self,
            ids=np.concatenate([self.ids, other.ids]),
            offsets=np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]]),
            ngrams=self.ngrams + other.ngrams if self.ngrams and other.ngrams else None,
            presets={name: self.presets[name] + other.presets[name] for name in both},
            raw=self.raw + other.raw if self.raw and other.raw else None,
        )

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of tokens of each text, int64 (n,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class NgramTexts(TokenizedTexts):
    """The distinct n-grams of n texts; the ids of a text are ascending. `orders` is uint8 (n_ids,),
    the number of words of each id's n-gram; 0 for padding and unknown.
    """

    orders: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PresetTexts(TokenizedTexts):
    """The tokens of n texts by a preset's tokenizer, the ids plus 1, without the special tokens
    before (`first`) and after (`last`) each text.
    """

    first: tuple[int, ...]
    last: tuple[int, ...]


@dataclass(frozen=True)
class LabeledTexts:
    """The texts and labels of a split; `labels` are (n,)."""

    texts: TokenizedTexts
    labels: Labels

    def __add__(self, other: "LabeledTexts") -> "LabeledTexts":
        return LabeledTexts(self.texts + other.texts, np.concatenate([self.labels, other.labels]))


@dataclass(frozen=True)
class Corpus:
    """A tokenized data set on disk."""

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
        """Whether the folder contains a whole corpus, whose data card is written last."""
        return (self.folder / CARD_NAME).exists()

    def split(self, name: str) -> LabeledTexts:
        """Return the split of this name, with its ids on a memory map."""
        ids = np.load(self.folder / f"{name}.ids.npy", mmap_mode="r")
        offsets = np.load(self.folder / f"{name}.offsets.npy")
        ngrams, presets = self._ngrams(name), self._presets(name)
        raw = map_texts(self.texts_dir / name)
        texts = TokenizedTexts(ids, offsets, ngrams=ngrams, presets=presets, raw=raw)
        return LabeledTexts(texts, np.load(self.folder / f"{name}.labels.npy"))

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

    def _ngrams(self, split: str) -> NgramTexts | None:
        """Return the n-grams of a split; None if they were not built, or if one of their files is
        missing or damaged: a space that takes no n-grams does not need them.
        """
        try:
            return NgramTexts(*map_ids(self.ngrams_dir / split), self.ngram_orders)
        except (OSError, ValueError, EOFError):
            return None

    @property
    def presets_dir(self) -> Path:
        return self.folder / "presets"

    def _presets(self, split: str) -> dict[str, PresetTexts]:
        """Return the tokens of a split by preset; a preset whose files are damaged is left out."""
        presets = {}
        for path in sorted(self.presets_dir.glob(f"*/{PRESET_CARD_NAME}")):
            with contextlib.suppress(OSError, ValueError, EOFError, StorageError):
                card = read_preset_card(path.parent)
                special = tuple(card.first), tuple(card.last)
                presets[card.name] = PresetTexts(*map_ids(path.parent / split), *special)
        return presets

    def ngrams(self, *, order: int, vocab_size: int) -> list[str]:
        """Return the n-grams of at most `order` words, as `words` returns the words."""
        text = (self.ngrams_dir / "vocabulary.txt").read_bytes().decode()
        of_order = np.flatnonzero(self.ngram_orders[FIRST_WORD_ID:] <= order)
        ngrams = text.split("\n")
        return [ngrams[row] for row in of_order[: max(vocab_size - FIRST_WORD_ID, 0)]]

    def words(self, vocab_size: int) -> list[str]:
        """Return the words with the ids 2, 3, … of a vocabulary of `vocab_size` rows, which include
        padding and unknown.
        """
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
    n_threads: int | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    progress: Progress | None = None,
) -> Corpus:
    """Return the tokenized data set in `folder`, whose name is the fingerprint. The data set is
    built if the folder does not exist, or if its files have changed since they were written.

    The vocabulary contains the words of the training split. The files do not depend on `n_threads`,
    by default one for each core, and `chunk_bytes`. `source` has the entries of the data card that
    do not come from the texts.
    """
    with locked(folder):
        if not is_whole(folder, splits):
            with rebuilt(folder) as temporary:
                _write_corpus(temporary, splits, n_threads, chunk_bytes, progress)
        card = Corpus(folder).card
        described = replace(card, **vars(source)) if source else card
        if described != card:  # The same texts may be read from another place.
            write_card(folder, described)
    return Corpus(folder)


def _write_corpus(
    folder: Path,
    splits: SplitReviews,
    n_threads: int | None,
    chunk_bytes: int,
    progress: Progress | None,
) -> None:
    done, total = 0, sum(len(frame) for frame in splits.frames.values())
    chunks: dict[str, list[ChunkWords]] = {name: [] for name in SPLITS}
    for name, of_split in chunks.items():
        frame = splits.frames[name]
        path = folder / f"{name}.ids.npy"
        for chunk in write_ids(path, frame["text"], n_threads=n_threads, chunk_bytes=chunk_bytes):
            of_split.append(chunk)
            done += len(chunk.lengths)
            if progress:
                progress("tokenizing", done / total)
        np.save(folder / f"{name}.offsets.npy", offsets_of([chunk.lengths for chunk in of_split]))
        labels = frame["label"].to_numpy().astype(splits.target.dtype)
        np.save(folder / f"{name}.labels.npy", labels)
    words, numbers = number_words(chunks)
    for name, of_split in chunks.items():
        renumber(folder / f"{name}.ids.npy", of_split, numbers[name])
    (folder / "vocabulary.txt").write_bytes(b"\n".join(words))
    logger.info("tokenized %d texts", done)
    card = describe(
        splits,
        np.concatenate([chunk.lengths for of_split in chunks.values() for chunk in of_split]),
        n_words=len(words),
        unknown_share=unknown_share(
            chunks["validation"], numbers["validation"], n_words=len(words)
        ),
    )
    write_card(folder, replace(card, checksums=checksums_of(folder)))


def open_corpus(folder: Path) -> Corpus:
    corpus = Corpus(folder)
    if not corpus.is_written:
        raise StorageError(
            f"{folder} must contain the tokenized data, which were removed. Search again to"
            " build them."
        )
    return corpus
