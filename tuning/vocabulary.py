"""Tokenise once: token ids ordered by frequency, on a memory map that studies and workers share.

The ids are those of `keras.layers.TextVectorization` with its default standardisation and split, fitted on the training
texts; `vocab_size` cuts them later, because a smaller vocabulary is a prefix of a larger one. No TensorFlow runs here.
"""

import shutil
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from tuning.config import SPLITS
from tuning.datasets.files import Progress
from tuning.datasets.splits import SplitReviews
from tuning.errors import StorageError
from tuning.results import read_json, translated, write_json

PADDING_ID, UNKNOWN_ID, FIRST_WORD_ID = 0, 1, 2
BASELINE_ROWS = 33_807  # the notebook's 33,805 words, padding and unknown

# keras.layers.TextVectorization: lower-cases ASCII letters, then strips !"#$%&()*+,-./:;<=>?@[\]^_`{|}~' and splits at ASCII
# white space (keras/src/layers/preprocessing/text_vectorization.py). On UTF-8 bytes that is one table and one split.
_LOWER = bytes(range(65)) + bytes(range(97, 123)) + bytes(range(91, 256))
_PUNCTUATION = b"!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"


def tokenize(text: str) -> list[bytes]:
    """The tokens of one text, as `TextVectorization` splits it, in UTF-8."""
    return text.encode().translate(_LOWER, _PUNCTUATION).split()


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of n texts, one after the other.

    `ids`: int32 array (n_tokens,), 0 never occurs, 1 is unknown, 2 the most frequent word; `offsets`: int64 array (n + 1,).
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.offsets)


@dataclass(frozen=True)
class LabelledTexts:
    """A split: `texts` of n reviews and `labels`, int64 array (n,)."""

    texts: TokenizedTexts
    labels: npt.NDArray[np.int64]

    def __add__(self, other: "LabelledTexts") -> "LabelledTexts":
        ids = np.concatenate([self.texts.ids, other.texts.ids])
        offsets = np.concatenate([self.texts.offsets, other.texts.offsets[1:] + self.texts.offsets[-1]])
        return LabelledTexts(TokenizedTexts(ids, offsets), np.concatenate([self.labels, other.labels]))


@dataclass(frozen=True)
class Corpus:
    """A tokenised data set on disk."""

    folder: Path

    @property
    def fingerprint(self) -> str:
        return self.folder.name

    @property
    def card(self) -> dict[str, Any]:
        """What `describe` found, as plain values."""
        return dict(read_json(self.folder / "data_card.json"))

    def split(self, name: str) -> LabelledTexts:
        """One split, its ids on a memory map."""
        ids = np.load(self.folder / f"{name}.ids.npy", mmap_mode="r")
        offsets = np.load(self.folder / f"{name}.offsets.npy")
        return LabelledTexts(TokenizedTexts(ids, offsets), np.load(self.folder / f"{name}.labels.npy"))

    def words(self, vocab_size: int) -> list[str]:
        """The words of ids 2, 3, … for a vocabulary of `vocab_size` rows, padding and unknown included."""
        text = (self.folder / "vocabulary.txt").read_bytes().decode()
        words = text.split("\n") if text else []
        return words[: max(vocab_size - FIRST_WORD_ID, 0)]


def encode(texts: Iterable[str], words: list[str]) -> TokenizedTexts:
    """Token ids of new texts, for a vocabulary in order of its ids (from 2)."""
    index = {word.encode(): number for number, word in enumerate(words, start=FIRST_WORD_ID)}
    ids: array[int] = array("i")
    offsets = [0]
    for text in texts:
        ids.extend([index.get(token, UNKNOWN_ID) for token in tokenize(text)])
        offsets.append(len(ids))
    return TokenizedTexts(np.array(ids, dtype=np.int32), np.array(offsets, dtype=np.int64))


def build_corpus(folder: Path, splits: SplitReviews, *, progress: Progress | None = None) -> Corpus:
    """The tokenised data set in `folder`, made there if it is not yet.

    Every text is tokenised once. The vocabulary is the training split's; ties in frequency go to the greater word, as in Keras.

    Raises:
        StorageError: the results folder is full or read-only.
    """
    with translated(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not (folder / "data_card.json").exists():
                temporary = folder.with_name(folder.name + ".tmp")
                shutil.rmtree(temporary, ignore_errors=True)
                shutil.rmtree(folder, ignore_errors=True)
                temporary.mkdir()
                _write_corpus(temporary, splits, progress)
                temporary.replace(folder)
    return Corpus(folder)


def _write_corpus(folder: Path, splits: SplitReviews, progress: Progress | None) -> None:
    provisional: defaultdict[bytes, int] = defaultdict()
    provisional.default_factory = provisional.__len__
    tokenized: dict[str, TokenizedTexts] = {}
    done, total = 0, sum(len(frame) for frame in splits.frames.values())
    for name in SPLITS:
        ids: array[int] = array("i")
        offsets = [0]
        for text in splits.frames[name]["text"]:
            ids.extend(map(provisional.__getitem__, tokenize(text)))
            offsets.append(len(ids))
            done += 1
            if progress and done % 1000 == 0:
                progress("tokenising", done / total)
        tokenized[name] = TokenizedTexts(np.array(ids, dtype=np.int32), np.array(offsets, dtype=np.int64))
    counts = np.bincount(tokenized["train"].ids, minlength=len(provisional))
    words = list(provisional)
    seen = sorted(np.flatnonzero(counts), key=lambda i: (counts[i], words[i]), reverse=True)
    final = np.full(len(words), UNKNOWN_ID, dtype=np.int32)
    final[seen] = np.arange(FIRST_WORD_ID, FIRST_WORD_ID + len(seen), dtype=np.int32)
    for name in SPLITS:
        texts = tokenized[name] = TokenizedTexts(final[tokenized[name].ids], tokenized[name].offsets)
        np.save(folder / f"{name}.ids.npy", texts.ids)
        np.save(folder / f"{name}.offsets.npy", texts.offsets)
        np.save(folder / f"{name}.labels.npy", splits.frames[name]["label"].to_numpy().astype(np.int64))
    (folder / "vocabulary.txt").write_bytes(b"\n".join(words[i] for i in seen))
    write_json(folder / "data_card.json", describe(splits, tokenized, n_words=len(seen)))


def describe(splits: SplitReviews, tokenized: dict[str, TokenizedTexts], *, n_words: int) -> dict[str, Any]:
    """The data card: rows, classes, lengths in tokens, duplicates and the share of unknown tokens.

    `unknown_share` is that of the validation split's tokens, for vocabularies of so many rows.
    """
    lengths = np.concatenate([texts.lengths for texts in tokenized.values()])
    validation = tokenized["validation"].ids
    full = n_words + FIRST_WORD_ID
    sizes = sorted({size for size in (1_000, 5_000, 10_000, BASELINE_ROWS) if size < full} | {full})
    labels = {name: np.bincount(f["label"], minlength=len(splits.class_names)) for name, f in splits.frames.items()}
    return {
        "fingerprint": splits.fingerprint,
        "n_rows": {name: len(texts) for name, texts in tokenized.items()},
        "class_names": list(splits.class_names),
        "class_counts": {name: counts.tolist() for name, counts in labels.items()},
        "majority_share": float(sum(labels.values()).max() / len(lengths)),  # type: ignore[union-attr]  # never empty
        "length_percentiles": {str(p): int(np.percentile(lengths, p)) for p in (5, 25, 50, 75, 95, 99, 100)},
        "n_tokens": int(lengths.sum()),
        "n_words": n_words,
        "n_duplicates": splits.n_duplicates,
        "unknown_share": {
            str(size): float(np.mean((validation == UNKNOWN_ID) | (validation >= size))) if len(validation) else 0.0 for size in sizes
        },
    }


def open_corpus(folder: Path) -> Corpus:
    """A corpus that `build_corpus` made.

    Raises:
        StorageError: it is not there.
    """
    if not (folder / "data_card.json").exists():
        raise StorageError(f"{folder} must hold the tokenised data; it was removed. Run `make tune` again to build it.")
    return Corpus(folder)
