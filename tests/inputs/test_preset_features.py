"""The tokens of a corpus for a preset, and the features that its encoder gives for them: computed
once for a preset and a length, again if either changes, and copied for texts of another corpus.
"""

import contextlib
import errno
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from tests.presets import SPLITS, call_in_this_process, write_text_encoder
from tests.texts import make_reviews, splits_of, substitute
from tuning.atomic_io import write_json
from tuning.data.folders import CHECKSUMS, checksums_of
from tuning.errors import SpaceBug, SpaceError, StorageError
from tuning.inputs import preset as presets
from tuning.inputs import preset_features, preset_tokens
from tuning.inputs.contract import Preparation
from tuning.inputs.corpus import Corpus, build_corpus
from tuning.inputs.encoder_tokens import TokenView
from tuning.inputs.kinds import FEATURES, TOKENS
from tuning.inputs.preset import read_preset_card
from tuning.inputs.preset_features import build_features
from tuning.inputs.preset_tokens import build_tokens, source_of, tokens_dir
from tuning.processes import ChildFailed
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter

LENGTH = 12


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the work of the child processes be done here, in small blocks, and return the presets
    that were read.
    """
    names: list[str] = []
    original = preset_features._Encoder.__init__

    def read(self: Any, card: Any, **options: Any) -> None:
        names.append(card.preset)
        original(self, card, **options)

    monkeypatch.setattr(preset_features._Encoder, "__init__", read)
    monkeypatch.setattr(preset_features, "ENCODER_BATCH_SIZE", 7)
    monkeypatch.setattr(preset_features, "BLOCK_TEXTS", 16)
    for module in (presets, preset_features):
        monkeypatch.setattr(module, "run_child", call_in_this_process)
    return names


@pytest.fixture
def corpus(tmp_path: Path, preset: str, calls: list[str]) -> Corpus:
    """Return a corpus with the tokens of the preset."""
    return corpus_of(SPLITS, tmp_path / "abc", preset)


def corpus_of(splits: Mapping[str, Sequence[str]], folder: Path, preset: str) -> Corpus:
    corpus = build_corpus(folder, splits_of(*map(list, splits.values())))
    build_tokens(corpus, preset, texts=lambda: splits)
    return corpus


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the numbers of texts that an encoder reads together."""
    numbers: list[int] = []
    original = preset_features._Encoder.features_of

    def encode(self: Any, view: Any, rows: Any, lengths: Any) -> Any:
        numbers.append(len(rows))
        return original(self, view, rows, lengths)

    monkeypatch.setattr(preset_features._Encoder, "features_of", encode)
    return numbers


# Tokens


def test_tokens_are_built_once(corpus: Corpus, preset: str) -> None:
    card = build_tokens(corpus, preset, texts=lambda: pytest.fail("the texts were read again"))
    assert (card.encoder, card.max_length, card.first, card.last) == ("BertBackbone", 256, [3], [4])


def test_tokens_are_built_again_if_the_preset_has_changed(corpus: Corpus, preset: str) -> None:
    vocabulary = Path(preset) / "assets" / "tokenizer" / "vocabulary.txt"
    substitute(vocabulary, "great\n", "greatest\n")
    build_tokens(corpus, preset, texts=lambda: SPLITS)
    path = tokens_dir(corpus, preset) / "tokenizer.json"
    assert "greatest" in json.loads(path.read_text())["model"]["vocab"]


def test_damaged_tokens_are_left_out_of_a_split(corpus: Corpus, preset: str) -> None:
    folder = tokens_dir(corpus, preset)
    (folder / "train" / "offsets.npy").unlink()
    assert corpus.split("train").texts.others == {}
    assert list(corpus.split("test").texts.others) == [f"tokens of {preset}"]
    (folder / "preset.json").unlink()
    with pytest.raises(StorageError, match=r"preset\.json must contain JSON"):
        read_preset_card(folder)


# Features


def features_of(
    corpus: Corpus, split: str, preset: str, length: int = LENGTH, *, layers: int = 0
) -> np.ndarray:
    values = {"preset": preset, "feature_length": length, "trained_layers": layers}
    stored: Any = corpus.split(split).texts.others[FEATURES.key_in(values)]
    return np.array(stored.parts[0])  # a copy: the file may change


def of_corpus(corpus: Corpus, preset: str, *, layers: int = 0) -> np.ndarray:
    return np.concatenate([features_of(corpus, name, preset, layers=layers) for name in SPLITS])


def test_features_are_the_mean_of_what_the_encoder_gives_for_each_token(
    corpus: Corpus, preset: str
) -> None:
    import keras_hub

    build_features(corpus, preset, length=LENGTH)
    encoder = keras_hub.models.Backbone.from_preset(preset)
    tokens: Any = corpus.split("train").texts.others[f"tokens of {preset}"]
    for row, features in enumerate(features_of(corpus, "train", preset)):
        ids = TokenView(tokens, LENGTH, "middle").batch(np.array([row])) - 1
        of_text = {"token_ids": ids, "padding_mask": ids >= 0, "segment_ids": 0 * ids}
        vectors = encoder(of_text)["sequence_output"]
        np.testing.assert_allclose(features, keras.ops.mean(vectors[0], axis=0), atol=1e-5)


def test_vectors_below_the_last_layer_continue_to_the_means_of_the_whole_encoder(
    corpus: Corpus, preset: str
) -> None:
    """A resumed build included: its blocks have unlike numbers of bytes."""
    build_features(corpus, preset, length=LENGTH)
    expected = {split: features_of(corpus, split, preset) for split in SPLITS}
    shutil.rmtree(corpus.features_dir)
    build_features(corpus, preset, length=LENGTH, trained_layers=1)
    key = f"features of {preset}, {LENGTH} tokens below the last 1 layers"
    vectors: Any = corpus.split("train").texts.others[key]
    whole = np.array(vectors.parts[0])
    (folder,) = corpus.features_dir.glob("*-below-1")
    unfinished = folder.rename(f"{folder}.tmp")
    with (unfinished / "train.bin").open("r+b") as file:
        file.truncate(int(vectors.starts[16]) * 16 * 4 + 5)  # the first block and 5 bytes
    build_features(corpus, preset, length=LENGTH, trained_layers=1)
    again: Any = corpus.split("train").texts.others[key]
    np.testing.assert_allclose(again.parts[0], whole, atol=1e-5)
    build_features(corpus, preset, length=LENGTH, below=1)
    for split, means in expected.items():
        np.testing.assert_allclose(features_of(corpus, split, preset), means, atol=1e-5)


def test_features_are_built_once_for_each_length_and_again_if_a_file_is_damaged(
    corpus: Corpus, preset: str, calls: list[str]
) -> None:
    for length in (LENGTH, LENGTH, 6):
        build_features(corpus, preset, length=length)
    assert calls == [preset, preset]
    before = features_of(corpus, "test", preset)
    assert not np.allclose(features_of(corpus, "test", preset, length=6), before)
    for path in corpus.features_dir.glob("*/test.bin"):
        path.write_bytes(path.read_bytes()[:-8])
    assert list(corpus.split("test").texts.others) == [f"tokens of {preset}"]
    build_features(corpus, preset, length=LENGTH)
    assert len(calls) == 3
    assert np.allclose(features_of(corpus, "test", preset), before)


def test_features_are_built_again_if_the_weights_have_changed(
    corpus: Corpus, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras_hub

    monkeypatch.setattr(preset_tokens, "MAX_SOURCE_BYTES", 5_000)  # Weights are large files.
    build_features(corpus, preset, length=LENGTH)
    before = features_of(corpus, "train", preset)
    backbone = keras_hub.models.Backbone.from_preset(preset)
    backbone.weights[0].assign(2 * backbone.weights[0])
    backbone.save_weights(Path(preset) / "model.weights.h5")
    (folder,) = corpus.features_dir.glob(f"*-{LENGTH}")
    shutil.copytree(folder, f"{folder}.tmp")  # of an ended process, with the earlier weights
    build_features(corpus, preset, length=LENGTH)
    assert not np.allclose(features_of(corpus, "train", preset)[0], before[0])


def test_interrupted_build_goes_on_after_the_last_whole_block(
    corpus: Corpus, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_features(corpus, preset, length=LENGTH)
    expected = features_of(corpus, "train", preset)
    (folder,) = corpus.features_dir.glob("*-12")
    shutil.rmtree(folder)
    original = preset_features._Encoder.features_of

    def interrupted(self: Any, view: Any, rows: Any, lengths: Any) -> Any:
        if rows[0] == 32:  # the third block of the training split
            raise KeyboardInterrupt
        return original(self, view, rows, lengths)

    with monkeypatch.context() as patch:
        patch.setattr(preset_features._Encoder, "features_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_features(corpus, preset, length=LENGTH)
    assert list(corpus.split("train").texts.others) == [f"tokens of {preset}"]
    unfinished = folder.with_name(f"{folder.name}.tmp")
    shutil.copy(unfinished / "train.bin", unfinished / "test.bin")  # whole, if it were read
    assert list(corpus.split("test").texts.others) == [f"tokens of {preset}"]
    (unfinished / "test.bin").unlink()
    with (unfinished / "train.bin").open("r+b") as file:
        file.write(np.full(16, 7.0, np.float32).tobytes())  # in the first block, which stays
        file.seek(0, 2)
        file.write(b"half a block")
    build_features(corpus, preset, length=LENGTH)
    features = features_of(corpus, "train", preset)
    np.testing.assert_array_equal(features[0], np.full(16, 7.0))
    np.testing.assert_allclose(features[1:], expected[1:], atol=1e-5)


def test_child_of_a_killed_command_does_not_add_rows(
    corpus: Corpus, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, others = preset_features._Encoder.features_of, [preset_features.main]

    def overtaken(self: Any, view: Any, rows: Any, lengths: Any) -> Any:
        if rows[0] == 16 and others:  # The next command begins, and is faster.
            (unfinished,) = corpus.features_dir.glob("*.tmp")
            tokens = str(tokens_dir(corpus, preset))
            others.pop()(tokens, tokens, str(unfinished))
        return original(self, view, rows, lengths)

    monkeypatch.setattr(preset_features._Encoder, "features_of", overtaken)
    build_features(corpus, preset, length=LENGTH)
    assert features_of(corpus, "train", preset).shape == (40, 16)


TEXTS = [text for texts in SPLITS.values() for text in texts]


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("order", [TEXTS, TEXTS[::-1]], ids=["another label", "another split"])
def test_features_of_known_texts_are_copied(
    corpus: Corpus, preset: str, calls: list[str], order: list[str], layers: int
) -> None:
    build_features(corpus, preset, length=LENGTH, trained_layers=layers)
    splits = {"train": order[:40], "validation": order[40:60], "test": order[60:]}
    other = corpus_of(splits, corpus.folder.with_name("other"), preset)
    build_features(other, preset, length=LENGTH, trained_layers=layers)
    assert calls == [preset]  # The encoder was not loaded again.
    shutil.rmtree(corpus.folder)
    copied = of_corpus(other, preset, layers=layers)
    shutil.rmtree(other.features_dir)
    build_features(other, preset, length=LENGTH, trained_layers=layers)
    np.testing.assert_allclose(copied, of_corpus(other, preset, layers=layers), atol=1e-5)


@pytest.mark.parametrize("layers", [0, 1])
def test_only_new_texts_are_encoded(
    corpus: Corpus,
    preset: str,
    encoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    layers: int,
) -> None:
    def run(function: Any, *arguments: Any, on_message: Any) -> Any:
        def send(message: Any) -> None:
            on_message(json.loads(json.dumps(message)))

        monkeypatch.setattr(preset_features, "send", send)
        return json.loads(json.dumps(function(*arguments)))

    monkeypatch.setattr(preset_features, "run_child", run)
    new = make_reviews(3, seed=3)["review_body"].tolist()
    train = [*new[:2], *SPLITS["train"][:17], new[2], *SPLITS["train"][17:]]
    other = corpus_of({**SPLITS, "train": train}, corpus.folder.with_name("other"), preset)
    build_features(other, preset, length=LENGTH, trained_layers=layers)
    alone = of_corpus(other, preset, layers=layers)
    shutil.rmtree(other.features_dir)
    build_features(corpus, preset, length=LENGTH, trained_layers=layers)
    encoded.clear()
    steps: list[tuple[str, float]] = []
    build_features(
        other,
        preset,
        length=LENGTH,
        trained_layers=layers,
        progress=lambda label, share: steps.append((label, share)),
    )
    assert sum(encoded) == 3
    assert {label for label, _ in steps[1:]} == {"encoding 3 texts for the preset (copying 70)"}
    assert (steps[0][1], steps[-1][1]) == (0, 1)
    np.testing.assert_allclose(of_corpus(other, preset, layers=layers), alone, atol=1e-5)
    last = features_of(corpus, "test", preset, layers=layers)
    np.testing.assert_array_equal(features_of(other, "test", preset, layers=layers), last)


def _change_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)


def _change_offset(tokens: Path) -> None:
    offsets = np.load(tokens / "train" / "offsets.npy")
    offsets[1] = 10**9
    np.save(tokens / "train" / "offsets.npy", offsets)


def _change_tokenizer(tokens: Path) -> None:
    substitute(tokens / "tokenizer.json", '"great"', '"greatest"')
    write_json(tokens / CHECKSUMS, checksums_of(tokens))


@pytest.mark.parametrize(
    "change",
    [
        lambda tokens, features: substitute(
            features / "features.json", '"source": "', '"source": "0'
        ),
        lambda tokens, features: _change_byte(features / "validation.bin"),
        lambda tokens, features: (features / "test.bin").unlink(),
        lambda tokens, features: features.rename(f"{features}.tmp"),
        lambda tokens, features: _change_tokenizer(tokens),
        lambda tokens, features: _change_byte(tokens / "train" / "ids.bin"),
        lambda tokens, features: _change_offset(tokens),
        lambda tokens, features: shutil.rmtree(tokens),
    ],
    ids=["card", "features", "split", "unfinished", "tokenizer", "tokens", "offsets", "no tokens"],
)
def test_features_that_are_damaged_or_of_another_encoder_are_not_copied(
    corpus: Corpus, preset: str, encoded: list[int], change: Callable[[Path, Path], None]
) -> None:
    build_features(corpus, preset, length=LENGTH)
    before = of_corpus(corpus, preset)
    (features,) = corpus.features_dir.glob(f"*-{LENGTH}")
    change(tokens_dir(corpus, preset), features)
    other = corpus_of(SPLITS, corpus.folder.with_name("other"), preset)
    encoded.clear()
    build_features(other, preset, length=LENGTH)
    assert sum(encoded) == len(TEXTS)
    np.testing.assert_array_equal(of_corpus(other, preset), before)


def test_full_disk_is_an_error_of_the_results_folder(
    corpus: Corpus, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(preset_features._Encoder, "features_of", fail)
    with pytest.raises(StorageError, match="No space left"):
        build_features(corpus, preset, length=LENGTH)


def test_disk_without_space_for_the_features_is_named_before_they_are_computed(
    corpus: Corpus, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_vectors = 0
    for split in SPLITS:
        tokens: Any = corpus.split(split).texts.others[f"tokens of {preset}"]
        n_vectors += int(TokenView(tokens, LENGTH, "middle").lengths.sum())
    n_bytes = 16 * 4 * n_vectors
    for free, fits in ((n_bytes - 1, False), (n_bytes, True)):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(preset_features.shutil, "disk_usage", lambda path, u=usage: u)
        expected = pytest.raises(StorageError, match=r"MB of space for the features of the preset")
        with contextlib.nullcontext() if fits else expected:
            build_features(corpus, preset, length=LENGTH, trained_layers=1)


@pytest.mark.parametrize("name", ["feature_length", "trained_layers"])
def test_number_from_a_range_is_refused(corpus: Corpus, preset: str, name: str) -> None:
    values = {"preset": preset, "feature_length": 8, "trained_layers": 1}
    fixed = [Hyperparameter(name=n, kind="fixed", default=v) for n, v in values.items()]
    items = [replace(i, kind="int", low=1, high=9) if i.name == name else i for i in fixed]
    space = SearchSpace("mine", tuple(items))
    with pytest.raises(SpaceError, match=f"{name} must be"):
        FEATURES.prepare(Preparation(corpus, space, lambda: splits_of(*SPLITS.values())))


def test_view_needs_the_features_and_a_model_of_their_width(corpus: Corpus, preset: str) -> None:
    values = {"preset": preset, "feature_length": LENGTH}
    with pytest.raises(StorageError, match="must contain the features"):
        FEATURES.view(corpus.split("test").texts, values, shape=(16,), ignores_padding=False)
    build_features(corpus, preset, length=LENGTH)
    with pytest.raises(SpaceBug, match=r"must have the shape \(16,\)"):
        FEATURES.view(corpus.split("test").texts, values, shape=(5,), ignores_padding=False)


def test_keras_model_is_read_once_for_its_content(calls: list[str], tmp_path: Path) -> None:
    splits = splits_of(*SPLITS.values())
    corpus = build_corpus(tmp_path / splits.fingerprint, splits)
    path = str(write_text_encoder(tmp_path / "encoder.keras"))
    values = {"preset": path, "feature_length": LENGTH}
    items = [Hyperparameter(name=n, kind="fixed", default=v) for n, v in values.items()]
    data = Preparation(corpus, SearchSpace("mine", tuple(items)), lambda: splits)
    FEATURES.prepare(data)
    other = replace(items[1], default=LENGTH + 1)  # The model reads the whole text.
    FEATURES.prepare(replace(data, space=SearchSpace("mine", (items[0], other))))
    assert calls == [path]
    before = features_of(corpus, "train", path)
    turned = splits_of(*list(SPLITS.values())[::-1], fingerprint="e" * 16)
    other = build_corpus(tmp_path / turned.fingerprint, turned)
    FEATURES.prepare(replace(data, corpus=other, read_again=lambda: turned))
    assert calls == [path]
    np.testing.assert_array_equal(features_of(other, "test", path), before)
    write_text_encoder(tmp_path / "encoder.keras", column=True)
    FEATURES.prepare(data)
    assert calls == [path, path]
    np.testing.assert_array_equal(features_of(corpus, "train", path), before)
    for scale in (1.0, 1e-5):
        write_text_encoder(tmp_path / "encoder.keras", mask=False, scale=scale)
        with pytest.raises(SpaceError, match="reads the padding of shorter texts"):
            FEATURES.prepare(data)
    write_text_encoder(tmp_path / "encoder.keras", scale=np.nan)
    with pytest.raises(SpaceError, match=r"gives NaN for one, .* at least 1"):
        FEATURES.prepare(data)
    with pytest.raises(SpaceError, match=r"must have a tokenizer .* the space frozen_encoder"):
        TOKENS.prepare(replace(data, space=SearchSpace("mine", tuple(items[:1]))))


def test_source_of_a_keras_model_is_that_of_its_weights(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    path = tmp_path / "encoder.keras"
    model.save(path)
    before = source_of(str(path))
    time.sleep(1)  # Keras writes the second into the file.
    model.save(path)
    assert source_of(str(path)) == before
    model.layers[0].bias.assign([1.0, 0.0])
    model.save(path)
    assert source_of(str(path)) != before


def test_failed_child_is_one_sentence(
    corpus: Corpus, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise ChildFailed("its process ended with signal 9")

    monkeypatch.setattr(preset_features, "run_child", fail)
    with pytest.raises(SpaceError, match="its process ended with signal 9"):
        build_features(corpus, preset, length=LENGTH)
