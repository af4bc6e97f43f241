"""Fetch a preset of KerasHub, check that it is a text encoder, and write its tokenizer.

A child process does this work, because the coordinator must not run Keras.

The tokenizer is a `tokenizers.Tokenizer`, which needs no Keras. A Hugging Face folder contains such
a tokenizer. For KerasHub's own presets, the tokenizer is made from their vocabulary: WordPiece
(BERT, DistilBERT, ELECTRA) or byte pairs (RoBERTa). It gives the same ids as KerasHub's, except for
rare characters: here Unicode's white space, such as a no-break space, also separates the words of
WordPiece, as in BERT's own tokenizer.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning import documents
from tuning.commands import install, package_of
from tuning.errors import SpaceError, StorageError
from tuning.processes import ChildFailed, run_child
from tuning.text import first_line

TOKENIZER = "tokenizer.json"
PRESET_CARD_NAME = "preset.json"
INPUTS = {"token_ids", "padding_mask", "segment_ids"}


@dataclass(frozen=True)
class PresetCard:
    """The facts that are stored beside the tokens of a preset.

    `source` is a digest of the files of a preset that is a folder, without its weights; `encoder`
    the class of its encoder in KerasHub; `max_length` the maximum number of tokens of a text, or
    None if the encoder takes any number; `first` and `last` the special tokens before and after
    each text, the ids plus one.
    """

    name: str
    source: str
    encoder: str
    max_length: int | None
    first: list[int]
    last: list[int]


def read_preset_card(folder: Path) -> PresetCard:
    remedy = "Search again to build the tokens."
    return documents.read(folder / PRESET_CARD_NAME, PresetCard, error=StorageError, remedy=remedy)


def fetch_preset(preset: str, folder: Path) -> tuple[str, int | None]:
    """Write the tokenizer of a preset into a folder, and return the class of its encoder and the
    maximum number of tokens of a text. KerasHub downloads a preset that is not a folder, unless it
    has a copy.
    """
    for module in ("keras_hub", "tokenizers"):
        if importlib.util.find_spec(module) is None:
            raise SpaceError(
                f"A preset needs the package {package_of(module)}, which is not installed. Type"
                f" `{install('pretrained')}`."
            )
    try:
        # Without a GPU: TensorFlow would reserve almost all of its memory.
        encoder, max_length = run_child(main, preset, str(folder), CUDA_VISIBLE_DEVICES="")
    except ChildFailed as error:
        raise SpaceError(
            f"preset must be a text encoder; loading {preset!r} gave: {error}"
        ) from error
    return encoder, max_length


def main(preset: str, folder: str) -> tuple[str, int | None]:
    import keras_hub

    _require_known(preset, keras_hub)
    try:
        backbone = keras_hub.models.Backbone.from_preset(preset)
    except Exception as error:  # Each source of presets raises errors of its own.
        raise SpaceError(_explained(preset, error)) from error
    _require_encoder(preset, backbone, keras_hub)
    _write_tokenizer(preset, Path(folder), keras_hub)
    return type(backbone).__name__, getattr(backbone, "max_sequence_length", None)


def _require_known(preset: str, keras_hub: Any) -> None:
    if Path(preset).is_dir() or "://" in preset or preset in keras_hub.models.Backbone.presets:
        return
    raise SpaceError(
        "preset must be a folder, an address such as hf://NAME/MODEL, a name in KerasHub's list"
        " such as bert_small_en_uncased, or a file that ends with .keras; the folder"
        f" {preset!r} does not exist, and the list does not contain this name."
    )


def _explained(preset: str, error: Exception) -> str:
    reason = f"{type(error).__name__}: {first_line(error)}"
    if Path(preset).is_dir():
        return (
            "preset must be a model that KerasHub can load: a folder that `save_to_preset` wrote,"
            f" or a Hugging Face model's. Loading {preset!r} gave {reason}"
        )
    return (
        f"The preset {preset!r} must be fetched, because this machine has no copy; fetching it gave"
        f" {reason} Check the network and the name, or download the preset"
        " elsewhere and give its folder as preset."
    )


def _require_encoder(preset: str, backbone: Any, keras_hub: Any) -> None:
    kind = type(backbone)
    names = set(backbone.input) if isinstance(backbone.input, dict) else set()
    generates = any(
        inspect.isclass(task)
        and issubclass(task, keras_hub.models.CausalLM)
        and getattr(task, "backbone_cls", None) is kind
        for task in vars(keras_hub.models).values()
    )
    if {"token_ids", "padding_mask"} <= names <= INPUTS and not generates:
        return
    reason = (
        "it generates text from left to right"
        if generates
        else f"its inputs are {', '.join(sorted(names)) or 'not named'}"
    )
    raise SpaceError(
        "preset must be a text encoder whose inputs are token_ids and padding_mask, such as BERT"
        f" or RoBERTa; {preset!r} is a {kind.__name__}, and {reason}."
    )


def _write_tokenizer(preset: str, folder: Path, keras_hub: Any) -> None:
    # KerasHub has no public function that returns the path of a preset's file.
    from keras_hub.src.utils.preset_utils import get_file
    from tokenizers import Tokenizer

    path = None
    with contextlib.suppress(FileNotFoundError):
        path = Path(get_file(preset, TOKENIZER))
    if path and is_hugging_face(path):
        tokenizer = Tokenizer.from_file(str(path))
    else:
        try:
            of_keras_hub = keras_hub.tokenizers.Tokenizer.from_preset(preset)
        except Exception as error:  # The class of the error depends on the kind of tokenizer.
            raise SpaceError(
                f"A preset must contain its tokenizer; loading the tokenizer of {preset!r} gave"
                f" {type(error).__name__}: {first_line(error)}"
            ) from error
        tokenizer = from_keras_hub(of_keras_hub, preset=preset)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(folder / TOKENIZER))


def is_hugging_face(path: Path) -> bool:
    # KerasHub gives the same name to a file with the configuration of its own tokenizer.
    try:
        return "model" in json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False


def from_keras_hub(tokenizer: Any, *, preset: str) -> Any:
    """Return the `tokenizers.Tokenizer` that gives the ids of a tokenizer of KerasHub."""
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
