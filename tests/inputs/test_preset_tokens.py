import json
from pathlib import Path

import numpy as np
import pytest

from tests.presets import SPLITS, call_in_this_process
from tests.texts import splits_of, substitute
from tuning.errors import SpaceError, StorageError
from tuning.inputs import preset as presets
from tuning.inputs import preset_tokens as tokens
from tuning.inputs.corpus import Corpus, build_corpus
from tuning.inputs.encoder_tokens import TokenView
from tuning.inputs.preset import read_preset_card
from tuning.inputs.preset_tokens import Texts, build_tokens, tokens_dir
from tuning.inputs.tokenizer import make_preset_encoder


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return build_corpus(tmp_path / "abc", splits_of(*SPLITS.values()))


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "run_child", call_in_this_process)


def never() -> Texts:
    raise AssertionError("the texts were read again")


def test_tokens_of_a_split_are_those_of_its_texts(corpus: Corpus, preset: str) -> None:
    card = build_tokens(corpus, preset, texts=lambda: SPLITS)
    assert (card.encoder, card.max_length, card.first, card.last) == ("BertBackbone", 256, [3], [4])
    path = tokens_dir(corpus, preset) / "tokenizer.json"
    encode = make_preset_encoder(path, sequence_length=12, truncating="middle")
    for name, texts in SPLITS.items():
        view = TokenView(corpus.split(name).texts.others[f"tokens of {preset}"], 12, "middle")
        rows = [row[row > 0].tolist() for row in view.batch(np.arange(len(texts)))]
        assert rows == [encode(text) for text in texts]


def test_tokens_are_built_once(corpus: Corpus, preset: str) -> None:
    card = build_tokens(corpus, preset, texts=lambda: SPLITS)
    assert build_tokens(corpus, preset, texts=never) == card


def test_tokens_are_built_again_if_the_preset_has_changed(corpus: Corpus, preset: str) -> None:
    build_tokens(corpus, preset, texts=lambda: SPLITS)
    vocabulary = Path(preset) / "assets" / "tokenizer" / "vocabulary.txt"
    substitute(vocabulary, "great\n", "greatest\n")
    build_tokens(corpus, preset, texts=lambda: SPLITS)
    path = tokens_dir(corpus, preset) / "tokenizer.json"
    assert "greatest" in json.loads(path.read_text())["model"]["vocab"]


def test_damaged_tokens_are_left_out_of_a_split(corpus: Corpus, preset: str) -> None:
    build_tokens(corpus, preset, texts=lambda: SPLITS)
    (tokens_dir(corpus, preset) / "train" / "offsets.npy").unlink()
    assert corpus.split("train").texts.others == {}
    assert list(corpus.split("test").texts.others) == [f"tokens of {preset}"]


def test_failed_preset_leaves_no_tokens(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(preset: str, folder: Path) -> None:
        raise SpaceError("no")

    monkeypatch.setattr(tokens, "fetch_preset", fail)
    with pytest.raises(SpaceError, match="no"):
        build_tokens(corpus, "unknown", texts=never)
    assert not tokens_dir(corpus, "unknown").exists()


def test_damaged_card_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"preset\.json must contain JSON"):
        read_preset_card(tmp_path)
