import importlib.util
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.presets import byte_pairs, word_pieces, write_decoder
from tuning.commands import install
from tuning.errors import SpaceError
from tuning.inputs import preset as presets
from tuning.inputs.preset import fetch_preset, from_keras_hub, is_hugging_face, main
from tuning.inputs.tokenizer import (
    load_preset_tokenizer,
    make_preset_encoder,
    special_tokens,
    truncated,
)
from tuning.models.transformer import load_encoder

pytest.importorskip("keras_hub", reason="the extra `pretrained` is not installed")

INSTALL = f"Type `{install('pretrained')}`"


def error_of(preset: object, folder: Path) -> str:
    """Return the error of the child process for a preset."""
    with pytest.raises(SpaceError) as error:
        main(str(preset), str(folder))
    return str(error.value)


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert "the folder 'nosuch' does not exist, and the list does" in error_of("nosuch", tmp_path)
    assert "a file that ends with .keras; the folder 'e.h5'" in error_of("e.h5", tmp_path)
    assert "has no config.json" in error_of(tmp_path, tmp_path)


def test_decoder_is_refused(tmp_path: Path) -> None:
    folder = write_decoder(tmp_path / "decoder")
    message = error_of(folder, tmp_path)
    assert "must be a text encoder" in message
    assert message.endswith("is a GPT2Backbone, and it generates text from left to right.")


def test_folder_with_a_damaged_model_or_without_a_tokenizer_is_refused(preset: str) -> None:
    folder = Path(preset)
    (folder / "tokenizer.json").unlink()
    assert "A preset must contain its tokenizer" in error_of(folder, folder)
    (folder / "model.weights.h5").write_bytes(b"no weights")
    assert f"Loading '{folder}' gave" in error_of(folder, folder)


def test_preset_that_needs_the_network_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras_hub

    def offline(preset: str) -> Any:
        raise ConnectionError("Failed to resolve the name\nmore lines")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", offline)
    message = error_of("bert_small_en_uncased", tmp_path)
    assert "must be fetched, because this machine has no copy" in message
    assert "ConnectionError: Failed to resolve the name Check the network" in message


@pytest.mark.parametrize("module", ["keras_hub", "tokenizers"])
def test_missing_package_is_named(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        presets.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == module else find_spec(name, *rest),
    )
    with pytest.raises(SpaceError, match=f"needs the package .*{re.escape(INSTALL)}"):
        fetch_preset("any", tmp_path)


def test_missing_package_is_named_where_a_model_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(SpaceError, match=f"needs the package keras-hub.*{re.escape(INSTALL)}"):
        load_encoder("any")


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


def saved(tokenizer: object, folder: Path) -> Path:
    path = folder / "tokenizer.json"
    from_keras_hub(tokenizer, preset="p").save(str(path))
    return path


@pytest.mark.parametrize("kind", ["lower", "cased", "no_accents", "byte_pairs"])
@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_kerashub(kind: str, text: str, tmp_path: Path) -> None:
    options = {"cased": {"lowercase": False}, "no_accents": {"strip_accents": True}}
    made = byte_pairs() if kind == "byte_pairs" else word_pieces(**options.get(kind, {}))
    tokenizer = load_preset_tokenizer(saved(made, tmp_path))
    expected = [int(n) for n in made(text)]
    assert tokenizer.encode(text, add_special_tokens=False).ids == expected


@pytest.mark.parametrize("truncating", ["pre", "post", "middle"])
def test_encoder_adds_special_tokens_and_cuts(truncating: str, tmp_path: Path) -> None:
    made = word_pieces()
    path = saved(made, tmp_path)
    text = "great phone and case it was lovely"
    ids = [int(n) + 1 for n in made(text)]
    encode = make_preset_encoder(path, sequence_length=6, truncating=truncating)
    assert encode(text) == [3, *truncated(ids, 4, truncating), 4]
    assert encode("") == [3, 4]


def test_special_tokens_and_lone_surrogates_in_a_text_are_text(tmp_path: Path) -> None:
    path = saved(word_pieces(), tmp_path)
    encode = make_preset_encoder(path, sequence_length=20, truncating="post")
    assert 4 not in encode("great [SEP] phone")[:-1]
    assert 1 not in encode("[PAD]")  # The id of [PAD] plus one.
    assert encode("great \ud800") == encode("great ?")


def test_special_tokens_of_each_kind(tmp_path: Path) -> None:
    assert special_tokens(load_preset_tokenizer(saved(word_pieces(), tmp_path))) == ([3], [4])
    assert special_tokens(load_preset_tokenizer(saved(byte_pairs(), tmp_path))) == ([1], [3])


def test_other_kind_of_tokenizer_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"must be WordPiece or byte pairs.*SimpleNamespace"):
        from_keras_hub(SimpleNamespace(), preset="p")


def test_hugging_face_and_kerashub_files_are_told_apart(tiny_preset: Path, tmp_path: Path) -> None:
    assert is_hugging_face(saved(word_pieces(), tmp_path))
    assert not is_hugging_face(tiny_preset / "tokenizer.json")
    assert not is_hugging_face(tmp_path / "missing.json")
