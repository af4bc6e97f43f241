"""The tokenizer of a preset as a `tokenizers.Tokenizer`, which needs no Keras.

A Hugging Face folder contains such a tokenizer. For KerasHub's own presets, the tokenizer is made
from their vocabulary: WordPiece (BERT, DistilBERT, ELECTRA) or byte pairs (RoBERTa). It gives the
same ids as KerasHub's, except for rare characters: here Unicode's white space, such as a no-break
space, also separates the words of WordPiece, as in BERT's own tokenizer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tuning.errors import SpaceError

TOKENIZER = "tokenizer.json"


def is_hugging_face(path: Path) -> bool:
    """Return whether a file is a tokenizer of the package `tokenizers`. KerasHub gives the same
    name to a file with the configuration of its own tokenizer.
    """
    try:
        return "model" in json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False


def from_keras_hub(tokenizer: Any, *, preset: str) -> Any:
    """Return the `tokenizers.Tokenizer` that gives the ids of a tokenizer of KerasHub.

    Raises:
        SpaceError: the tokenizer is of another kind.
    """
    import keras_hub

    if isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
        made = _word_piece(tokenizer)
    elif isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer):
        made = _byte_pair(tokenizer)
    else:
        raise SpaceError(
            f"The tokenizer of a preset must be WordPiece or byte pairs, or the preset must be a"
            f" Hugging Face model with a {TOKENIZER}; {preset!r} has a"
            f" {type(tokenizer).__name__}. Name its Hugging Face model, as in hf://NAME/MODEL."
        )
    from tokenizers.processors import TemplateProcessing

    start, end = tokenizer.start_token, tokenizer.end_token
    made.post_processor = TemplateProcessing(
        single=[start, "$A", end],
        special_tokens=[(start, tokenizer.start_token_id), (end, tokenizer.end_token_id)],
    )
    return made


def _word_piece(tokenizer: Any) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(tokenizer.get_vocabulary())}
    made = Tokenizer(
        models.WordPiece(
            vocabulary,
            unk_token=tokenizer.oov_token,
            continuing_subword_prefix=tokenizer.suffix_indicator,
        )
    )
    normalizer = normalizers.BertNormalizer(
        clean_text=False,
        handle_chinese_chars=tokenizer.split_on_cjk,
        strip_accents=tokenizer.strip_accents,
        lowercase=tokenizer.lowercase,
    )
    # KerasHub brings lower case into Unicode's form NFKC.
    made.normalizer = (
        normalizers.Sequence([normalizers.NFKC(), normalizer])
        if tokenizer.lowercase
        else normalizer
    )
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def _byte_pair(tokenizer: Any) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    merges = [tuple(merge.split(" ")) for merge in tokenizer.merges]
    made = Tokenizer(models.BPE(dict(tokenizer.vocabulary), merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=tokenizer.add_prefix_space)
    return made
