"""Tokenise once: token ids ordered by frequency, on a memory map that studies and workers share.

The ids are those of `keras.layers.TextVectorization` with its default standardisation and split,
fitted on the training texts; `vocab_size` cuts them later, because a smaller vocabulary is a prefix
of a larger one. No TensorFlow runs here.
"""

import contextlib
import io
import logging
import shutil
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from tuning.config import SPLITS
from tuning.data.chunks import CHUNK_BYTES, map_chunks, tokenize
from tuning.data.data_card import FILE_NAME as CARD_NAME
from tuning.data.data_card import DataCard, DataSource, read_card
from tuning.data.files import Progress
from tuning.data.splits import SplitReviews
from tuning.data.tokenizer import FIRST_WORD_ID, UNKNOWN_ID
from tuning.documents import unstructure
from tuning.errors import StorageError
from tuning.results import read_json, translated, write_json

logger = logging.getLogger(__name__)

BASELINE_ROWS = 33_807  # the notebook's 33,805 words, padding and unknown
CHECKSUM_BYTES = 2**22  # read at a time


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of n texts, one after the other.

    `ids`: int32 array (n_tokens,), 0 never occurs, 1 is unknown, 2 the most frequent word;
    `offsets`: int64 array (n + 1,).
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
        offsets = np.concatenate(
            [self.texts.offsets, other.texts.offsets[1:] + self.texts.offsets[-1]]
        )
        return LabelledTexts(
            TokenizedTexts(ids, offsets), np.concatenate([self.labels, other.labels])
        )


@dataclass(frozen=True)
class Corpus:
    """A tokenised data set on disk."""

    folder: Path

    @property
    def fingerprint(self) -> str:
        return self.folder.name

    @property
    def card(self) -> DataCard:
        """The data card, read from its file."""
        return read_card(self.folder)

    @property
    def is_written(self) -> bool:
        """Whether the folder holds a corpus; its data card is written last."""
        return (self.folder / CARD_NAME).exists()

    def split(self, name: str) -> LabelledTexts:
        """One split, its ids on a memory map."""
        ids = np.load(self.folder / f"{name}.ids.npy", mmap_mode="r")
        offsets = np.load(self.folder / f"{name}.offsets.npy")
        return LabelledTexts(
            TokenizedTexts(ids, offsets), np.load(self.folder / f"{name}.labels.npy")
        )

    def words(self, vocab_size: int) -> list[str]:
        """The words of ids 2, 3, … for a vocabulary of `vocab_size` rows, padding and unknown
        included.
        """
        text = (self.folder / "vocabulary.txt").read_bytes().decode()
        words = text.split("\n") if text else []
        return words[: max(vocab_size - FIRST_WORD_ID, 0)]


def encode(texts: Iterable[str], words: list[str]) -> TokenizedTexts:
    """Token ids of new texts, for a vocabulary in order of its ids (from 2)."""
    index = {word.encode(): number for number, word in enumerate(words, start=FIRST_WORD_ID)}
    tokens = tokenize(list(texts))
    numbers = np.array(
        [index.get(word, UNKNOWN_ID) for word in tokens.words.to_pylist()], dtype=np.int32
    )
    return TokenizedTexts(numbers[tokens.ids], _offsets([tokens.lengths]))


def build_corpus(
    folder: Path,
    splits: SplitReviews,
    *,
    source: DataSource | None = None,
    n_threads: int | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    progress: Progress | None = None,
) -> Corpus:
    """The tokenised data set in `folder`, made there if it is not yet, or is not what was written.

    `source`: the entries of the data card that do not come from the texts.

    Every text is tokenised once. The vocabulary is the training split's; ties in frequency go to
    the greater word, as in Keras. Neither the threads (one a core) nor the size of the chunks
    change a byte.

    Raises:
        StorageError: the results folder is full or read-only.
    """
    with translated(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not _is_whole(folder, splits):
                temporary = folder.with_name(folder.name + ".tmp")
                shutil.rmtree(temporary, ignore_errors=True)
                shutil.rmtree(folder, ignore_errors=True)
                temporary.mkdir()
                _write_corpus(temporary, splits, n_threads, chunk_bytes, progress)
                temporary.replace(folder)
            card = Corpus(folder).card
            described = replace(card, **vars(source)) if source else card
            if described != card:  # the same texts, read from another place
                _write_card(folder, described)
    return Corpus(folder)


@dataclass(frozen=True)
class _Chunk:
    """What is kept of a chunk of a split when its ids are on disk: its `words`, how often each
    occurs, tokens of each text.
    """

    words: pa.Array
    counts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


def _write_corpus(
    folder: Path,
    splits: SplitReviews,
    n_threads: int | None,
    chunk_bytes: int,
    progress: Progress | None,
) -> None:
    done, total = 0, sum(len(frame) for frame in splits.frames.values())
    chunks: dict[str, list[_Chunk]] = {name: [] for name in SPLITS}
    for name, kept in chunks.items():
        frame = splits.frames[name]
        tokenized = map_chunks(
            tokenize, frame["text"], n_threads=n_threads, chunk_bytes=chunk_bytes
        )
        with contextlib.closing(tokenized), (folder / f"{name}.ids.npy").open("wb") as file:
            file.write(_header(0))
            for tokens in tokenized:
                file.write(tokens.ids.data)
                kept.append(
                    _Chunk(
                        tokens.words,
                        np.bincount(tokens.ids, minlength=len(tokens.words)),
                        tokens.lengths,
                    )
                )
                done += len(tokens.lengths)
                if progress:
                    progress("tokenising", done / total)
        np.save(folder / f"{name}.offsets.npy", _offsets([chunk.lengths for chunk in kept]))
        np.save(folder / f"{name}.labels.npy", frame["label"].to_numpy().astype(np.int64))
    words, numbers = _vocabulary(chunks)
    for name, kept in chunks.items():
        _renumber(folder / f"{name}.ids.npy", kept, numbers[name])
    (folder / "vocabulary.txt").write_bytes(b"\n".join(words))
    logger.info("tokenised %d texts", done)
    card = _describe(splits, chunks, numbers["validation"], n_words=len(words))
    _write_card(folder, replace(card, checksums=_checksums(folder)))


def _write_card(folder: Path, card: DataCard) -> None:
    """Write the data card; keys that a newer version has written stay in it."""
    path = folder / CARD_NAME
    newer = read_json(path) if path.exists() else {}
    write_json(path, {**newer, **unstructure(card)})


def _checksums(folder: Path) -> dict[str, int]:
    """CRC-32 of every file of a corpus but its card."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".npy", ".txt"):
            with path.open("rb") as file:
                checksum = 0
                while block := file.read(CHECKSUM_BYTES):
                    checksum = zlib.crc32(block, checksum)
            found[path.name] = checksum
    return found


def _is_whole(folder: Path, splits: SplitReviews) -> bool:
    """Whether a corpus of these texts is there, and its files are those that were written: 0.2 s
    for 400 MB.
    """
    if not Corpus(folder).is_written:
        return False
    try:
        card = Corpus(folder).card
        n_rows = {name: len(frame) for name, frame in splits.frames.items()}
        whole = (card.class_names, card.n_rows) == ([*splits.class_names], n_rows)
        whole = whole and card.checksums in (None, _checksums(folder))
    except StorageError:
        whole = False
    if not whole:
        logger.warning("%s does not hold what was written to it, and is made again", folder)
    return whole


def _vocabulary(
    chunks: dict[str, list[_Chunk]],
) -> tuple[list[bytes], dict[str, list[npt.NDArray[np.int32]]]]:
    """The training split's words in order of their ids, and the id of each word of each chunk."""
    every = [chunk for kept in chunks.values() for chunk in kept]
    merged = (
        pa.chunked_array([chunk.words for chunk in every], pa.large_binary())
        .dictionary_encode()
        .combine_chunks()
    )
    places = merged.indices.to_numpy()
    seen = np.concatenate([chunk.counts for chunk in chunks["train"]])
    counts = np.bincount(places[: len(seen)], weights=seen, minlength=len(merged.dictionary))
    table = pa.table({"count": counts, "word": merged.dictionary})
    order = pc.sort_indices(table, sort_keys=[("count", "descending"), ("word", "descending")])[
        : np.count_nonzero(counts)
    ]
    ids = np.full(len(counts), UNKNOWN_ID, dtype=np.int32)
    ids[order.to_numpy()] = np.arange(FIRST_WORD_ID, FIRST_WORD_ID + len(order), dtype=np.int32)
    numbers = iter(np.split(ids[places], np.cumsum([len(chunk.words) for chunk in every])))
    return merged.dictionary.take(order).to_pylist(), {
        name: [next(numbers) for _ in kept] for name, kept in chunks.items()
    }


def _renumber(path: Path, chunks: list[_Chunk], numbers: list[npt.NDArray[np.int32]]) -> None:
    """Give the ids on disk, each of which counts the words of its chunk alone, their numbers in the
    vocabulary.

    Reads and writes instead of a memory map: a disk that fills up under a map kills the process.
    """
    n_tokens = sum(int(chunk.lengths.sum()) for chunk in chunks)
    with path.open("r+b") as file:
        file.write(_header(n_tokens))
        for chunk, new in zip(chunks, numbers, strict=True):
            place = file.tell()
            ids = np.frombuffer(file.read(4 * int(chunk.lengths.sum())), dtype=np.int32)
            file.seek(place)
            file.write(new[ids].data)


def _header(n_tokens: int) -> bytes:
    """That of a .npy file of ids, as `np.save` writes it: of one size, because NumPy leaves space
    for an array that grows.
    """
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer,
        {
            "descr": np.lib.format.dtype_to_descr(np.dtype(np.int32)),
            "fortran_order": False,
            "shape": (n_tokens,),
        },
    )
    return buffer.getvalue()


def _offsets(lengths: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    return np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *lengths]))


def _describe(
    splits: SplitReviews,
    chunks: dict[str, list[_Chunk]],
    numbers: list[npt.NDArray[np.int32]],
    *,
    n_words: int,
) -> DataCard:
    """The data card: rows, classes, lengths in tokens, duplicates and the share of unknown tokens.

    `unknown_share` is that of the validation split's tokens, for vocabularies of so many rows;
    `numbers` are its words' ids.
    """
    lengths = np.concatenate([chunk.lengths for kept in chunks.values() for chunk in kept])
    full = n_words + FIRST_WORD_ID
    counts = np.zeros(full, dtype=np.int64)  # of each id in the validation split
    for chunk, ids in zip(chunks["validation"], numbers, strict=True):
        np.add.at(counts, ids, chunk.counts)
    sizes = sorted({size for size in (1_000, 5_000, 10_000, BASELINE_ROWS) if size < full} | {full})
    labels = {
        name: np.bincount(f["label"], minlength=len(splits.class_names))
        for name, f in splits.frames.items()
    }
    return DataCard(
        fingerprint=splits.fingerprint,
        n_rows={name: len(splits.frames[name]) for name in chunks},
        class_names=list(splits.class_names),
        class_counts={name: counts.tolist() for name, counts in labels.items()},
        majority_share=float(sum(labels.values()).max() / len(lengths)),  # type: ignore[union-attr]  # never empty
        length_percentiles={
            str(p): int(np.percentile(lengths, p)) for p in (5, 25, 50, 75, 95, 99, 100)
        },
        n_tokens=int(lengths.sum()),
        n_words=n_words,
        n_duplicates=splits.n_duplicates,
        unknown_share={
            str(size): float((counts[UNKNOWN_ID] + counts[size:].sum()) / max(counts.sum(), 1))
            for size in sizes
        },
    )


def open_corpus(folder: Path) -> Corpus:
    """A corpus that `build_corpus` made.

    Raises:
        StorageError: it is not there.
    """
    corpus = Corpus(folder)
    if not corpus.is_written:
        raise StorageError(
            f"{folder} must hold the tokenised data; it was removed. Run `make tune` again to"
            " build it."
        )
    return corpus
