"""The kinds of inputs, in the order in which an export lists the inputs of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tuning.errors import SpaceError
from tuning.inputs.contract import Input, LabeledTexts, ModelInput, Values
from tuning.inputs.encoder_tokens import EncoderTokens
from tuning.inputs.features import Features
from tuning.inputs.ngrams import Ngrams
from tuning.inputs.texts import Texts
from tuning.inputs.token_ids import TokenIds

IDS, NGRAMS, TOKENS, FEATURES, TEXTS = TokenIds(), Ngrams(), EncoderTokens(), Features(), Texts()
# Features are made from the tokens, so they are prepared after them.
KINDS: dict[str, Input] = {kind.name: kind for kind in (IDS, NGRAMS, TOKENS, FEATURES, TEXTS)}


def kind_of(name: str) -> Input:
    return KINDS.get(name, IDS)


def kinds_in(inputs: ModelInput) -> list[Input]:
    return [TEXTS] if inputs.takes_texts else [k for k in KINDS.values() if k.is_in(inputs)]


def takes_raw_text(inputs: ModelInput) -> bool:
    """Return whether a `.keras` file and a SavedModel of a model with these inputs take texts."""
    return all(kind.has_layers or kind is TEXTS for kind in kinds_in(inputs))


def narrowed(split: LabeledTexts, values: Values, *, takes_texts: bool) -> LabeledTexts:
    """Return a split without the stored inputs that no model with this configuration takes, such as
    the features of other presets, whose copies would fill the memory. `takes_texts`: whether models
    of the space take texts.
    """
    keys = {kind.key_in(values) for kind in KINDS.values() if takes_texts or kind is not TEXTS}
    others = {key: stored for key, stored in split.texts.others.items() if key in keys}
    return replace(split, texts=replace(split.texts, others=others))


def require_readable(names: Sequence[str]) -> None:
    kinds = [kind_of(name) for name in names]
    n_alone = sum(not kind.stands_beside for kind in kinds)
    if n_alone > 1 or len(set(kinds)) < len(kinds):
        raise SpaceError(
            "A model may have at most one input each of token ids, of n-grams ('ngrams'), and of"
            " the tokens ('tokens') or the features ('features') of a preset."
            f" This model has the inputs {', '.join(map(repr, names))}. For a pretrained encoder,"
            " see transformer_classifier of tuning.models."
        )
