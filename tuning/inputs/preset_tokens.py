"""The tokens of a corpus for a preset: every text is tokenized once, and a trial cuts the ids."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tuning import documents
from tuning.config import SPLITS
from tuning.data.files import Progress
from tuning.data.folders import build_once, checksum_of, checksum_of_keras_file
from tuning.data.text_bytes import offsets_of
from tuning.inputs.arrow_tokenizer import map_ids, save_ids
from tuning.inputs.corpus import Corpus
from tuning.inputs.encoder_tokens import PresetTexts
from tuning.inputs.preset import (
    PRESET_CARD_NAME,
    TOKENIZER,
    PresetCard,
    fetch_preset,
    read_preset_card,
)
from tuning.inputs.tokenizer import as_utf8, load_preset_tokenizer, special_tokens

logger = logging.getLogger(__name__)

CHUNK_TEXTS = 1_000
# Files of a preset's folder that are larger contain weights. They do not change its tokens.
MAX_SOURCE_BYTES = 20_000_000

Texts = Mapping[str, Sequence[str]]
"""The texts of each split."""


def tokens_dir(corpus: Corpus, preset: str) -> Path:
    return corpus.presets_dir / hashlib.sha256(preset.encode()).hexdigest()[:12]


def build_tokens(
    corpus: Corpus,
    preset: str,
    *,
    texts: Callable[[], Texts],
    progress: Progress | None = None,
) -> PresetCard:
    """Write the tokens of a corpus for a preset, unless they have been written, and return their
    card. `texts` is called only if the texts must be tokenized.
    """
    folder, source = tokens_dir(corpus, preset), source_of(preset)

    def write(temporary: Path) -> None:
        if progress:
            progress(f"loading the preset {preset}", 0.0)
        encoder, max_length = fetch_preset(preset, temporary)
        tokenizer = load_preset_tokenizer(temporary / TOKENIZER)
        splits = texts()
        n_done, n_texts = 0, sum(map(len, splits.values()))

        def chunks(name: str) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]]:
            nonlocal n_done
            for ids, lengths in tokenized(tokenizer, splits[name]):
                yield ids, lengths
                n_done += len(lengths)
                if progress:
                    progress("tokenizing for the preset", n_done / n_texts)

        for name in SPLITS:
            save_ids(temporary / name, chunks(name))
        card = PresetCard(preset, source, encoder, max_length, *special_tokens(tokenizer))
        documents.write(temporary / PRESET_CARD_NAME, card)
        logger.info("tokenized %d texts for the preset %s", n_texts, preset)

    build_once(folder, write, is_current=lambda folder: read_preset_card(folder).source == source)
    return read_preset_card(folder)


def tokenized(
    tokenizer: Any, texts: Sequence[str]
) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]]:
    """Yield the ids plus one of the tokens of chunks of texts, without special tokens, and the
    number of tokens of each text.
    """
    for start in range(0, len(texts), CHUNK_TEXTS):
        chunk = [as_utf8(text) for text in texts[start : start + CHUNK_TEXTS]]
        # A batch, because the tokenizer then uses all cores.
        rows = [row.ids for row in tokenizer.encode_batch(chunk, add_special_tokens=False)]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        yield np.concatenate([np.array(row, dtype=np.int32) for row in rows]) + 1, lengths


def map_tokens(folder: Path, split: str) -> tuple[PresetCard, PresetTexts]:
    card = read_preset_card(folder)
    return card, PresetTexts(*map_ids(folder / split), tuple(card.first), tuple(card.last))


def encode_tokens(path: Path, texts: Sequence[str]) -> PresetTexts:
    tokenizer = load_preset_tokenizer(path)
    parts = list(tokenized(tokenizer, texts))
    ids = np.concatenate([np.empty(0, dtype=np.int32), *(ids for ids, _ in parts)])
    first, last = special_tokens(tokenizer)
    offsets = offsets_of([lengths for _, lengths in parts])
    return PresetTexts(ids, offsets, tuple(first), tuple(last))


def source_of(preset: str, *, with_weights: bool = False) -> str:
    """Return a digest of the small files of a preset that is a folder, or of all its files, or of a
    Keras model; empty for any other preset, because presets at an address have versions.
    """
    folder = Path(preset)
    if folder.is_file():
        return str(checksum_of_keras_file(folder))
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    # `checksum_of_encoder` reads fewer files, because a study is refused if one of them changes.
    # With its list, the tokens and features that are stored already would be computed again.
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        is_small = path.stat().st_size <= MAX_SOURCE_BYTES
        if is_small or with_weights:
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes() if is_small else str(checksum_of(path)).encode())
    return digest.hexdigest()
