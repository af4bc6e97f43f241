from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.presets import byte_pairs, word_pieces
from tuning.data.tokenizer import (
    load_preset_tokenizer,
    make_preset_encoder,
    special_tokens,
    truncated,
)
from tuning.errors import SpaceError
from tuning.pretrained.tokenizer import from_keras_hub, is_hugging_face

pytest.importorskip("keras_hub", reason="the extra `pretrained` is not installed")

TEXTS = (
    "",
    "   \t\n ",
    "Great phone, it works!",
    "UNABLE cables item42.",
    "[CLS] great [SEP] [PAD]",
    "broken日phone",
    "École e\u0301 É",
    "the the thegre ather",
    "x" * 150,
    "ＧＲＥＡＴ phone",
    "😀👍 phone",
)


def written(tokenizer: object, folder: Path) -> Path:
    path = folder / "tokenizer.json"
    from_keras_hub(tokenizer, preset="p").save(str(path))
    return path


@pytest.mark.parametrize("kind", ["lower", "cased", "no_accents", "byte_pairs"])
@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_kerashub(kind: str, text: str, tmp_path: Path) -> None:
    options = {"cased": {"lowercase": False}, "no_accents": {"strip_accents": True}}
    made = byte_pairs() if kind == "byte_pairs" else word_pieces(**options.get(kind, {}))
    tokenizer = load_preset_tokenizer(written(made, tmp_path))
    expected = [int(n) for n in made(text)]
    assert tokenizer.encode(text, add_special_tokens=False).ids == expected


@pytest.mark.parametrize("truncating", ["pre", "post", "middle"])
def test_encoder_adds_special_tokens_and_cuts(truncating: str, tmp_path: Path) -> None:
    made = word_pieces()
    path = written(made, tmp_path)
    text = "great phone and case it was lovely"
    ids = [int(n) + 1 for n in made(text)]
    encode = make_preset_encoder(path, sequence_length=6, truncating=truncating)
    assert encode(text) == [3, *truncated(ids, 4, truncating), 4]
    assert encode("") == [3, 4]


def test_special_token_in_a_text_is_text(tmp_path: Path) -> None:
    encode = make_preset_encoder(
        written(word_pieces(), tmp_path), sequence_length=20, truncating="post"
    )
    assert 4 not in encode("great [SEP] phone")[:-1]
    assert 1 not in encode("[PAD]")  # The id of [PAD] plus one.


def test_lone_surrogate_is_a_question_mark(tmp_path: Path) -> None:
    encode = make_preset_encoder(
        written(word_pieces(), tmp_path), sequence_length=20, truncating="post"
    )
    assert encode("great \ud800") == encode("great ?")


def test_special_tokens_of_each_kind(tmp_path: Path) -> None:
    assert special_tokens(load_preset_tokenizer(written(word_pieces(), tmp_path))) == ([3], [4])
    assert special_tokens(load_preset_tokenizer(written(byte_pairs(), tmp_path))) == ([1], [3])


def test_other_kind_of_tokenizer_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"must be WordPiece or byte pairs.*SimpleNamespace"):
        from_keras_hub(SimpleNamespace(), preset="p")


def test_hugging_face_and_kerashub_files_are_told_apart(tiny_preset: Path, tmp_path: Path) -> None:
    assert is_hugging_face(written(word_pieces(), tmp_path))
    assert not is_hugging_face(tiny_preset / "tokenizer.json")
    assert not is_hugging_face(tmp_path / "missing.json")
