"""The contract of inputs, over every kind."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.numbered import TWO
from tests.paths import ROOT
from tests.presets import call_in_this_process, write_text_encoder
from tests.texts import make_reviews, splits_of
from tuning.config import TrainConfig, is_keras_file
from tuning.documents import unstructure
from tuning.errors import SpaceBug, SpaceError
from tuning.inputs import contract, preset, preset_features, tokenizer
from tuning.inputs.contract import (
    IdTexts,
    Input,
    InputView,
    LabeledTexts,
    ModelInput,
    Preparation,
    Shape,
    Stored,
    TokenizedTexts,
    Values,
    resplit,
)
from tuning.inputs.corpus import Corpus, build_corpus, encode
from tuning.inputs.kinds import (
    FEATURES,
    KINDS,
    NGRAMS,
    TEXTS,
    TOKENS,
    kinds_in,
    narrowed,
    require_readable,
)
from tuning.inputs.preset_features import build_features
from tuning.inputs.token_ids import WordView
from tuning.spaces.loading import SearchSpace, declare, load_hypermodel
from tuning.spaces.ranges import Hyperparameter
from tuning.spaces.starting_points import resolve_point
from tuning.training.fit import fit
from tuning.training.prediction import make_view
from tuning.training.result import TrainingJob

REVIEWS = [*make_reviews(60)["review_body"].tolist(), "", "\u2028 a\x00b 日本 👍"]
TRAIN, VALIDATION = REVIEWS[:40], REVIEWS[40:]
ROWS = np.arange(len(TRAIN))
KERAS_FILE = "Keras model"
every_kind = pytest.mark.parametrize(
    ("kind", "values"),
    [*((kind, 0) for kind in KINDS.values()), (FEATURES, 1), (FEATURES, KERAS_FILE)],
    indirect=["values"],
    ids=[*KINDS, "vectors", KERAS_FILE],
)


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_encoder(tmp_path_factory.mktemp("keras") / "encoder.keras", column=True)


@pytest.fixture(scope="module")
def values(tiny_preset: Path, keras_file: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    param = getattr(request, "param", 0)
    if param == KERAS_FILE:
        return values_of(keras_file, trained_layers=0)
    return values_of(tiny_preset, trained_layers=param)


def values_of(preset: Path, *, trained_layers: int) -> dict[str, Any]:
    return {
        "vocab_size": 30,
        "sequence_length": 6,
        "truncating": "middle",
        "ngrams": 2,
        "ngram_vocab_size": 25,
        "preset": str(preset),
        "feature_length": 6,
        "trained_layers": trained_layers,
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, tiny_preset: Path, keras_file: Path) -> Corpus:
    """A corpus for which every kind was prepared."""
    folder = tmp_path_factory.mktemp("cache") / ("f" * 16)
    splits = splits_of(TRAIN, VALIDATION, TRAIN[:2])
    corpus = build_corpus(folder, splits)
    items = tuple(
        Hyperparameter(name=name, kind="choice", default=0, choices=(0, 1))
        if name == "trained_layers"
        else Hyperparameter(name=name, kind="fixed", default=value)
        for name, value in values_of(tiny_preset, trained_layers=0).items()
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in (preset, preset_features):
            patch.setattr(module, "run_child", call_in_this_process)
        of_file = tuple(
            Hyperparameter(name=name, kind="fixed", default=value)
            for name, value in values_of(keras_file, trained_layers=0).items()
        )
        spaces = (SearchSpace("a", items), SearchSpace("b", (), takes_texts=True))
        for space in (*spaces, SearchSpace("c", of_file)):
            for kind in KINDS.values():
                kind.prepare(Preparation(corpus, space, lambda: splits))
    return corpus


def described(kind: Input, values: Values) -> ModelInput:
    sizes = {"vocab_size": 0, "sequence_length": 0, "truncating": values["truncating"]}
    return ModelInput(**sizes | kind.describe(values))


def view_of(kind: Input, texts: TokenizedTexts, values: Values) -> InputView:
    return kind.view(texts, values, shape=(), ignores_padding=False)


def unpadded(row: Any) -> Any:
    """Return a text, or ids or vectors without zeros."""
    return row if isinstance(row, str) else [value for value in row if np.any(value)]


@every_kind
def test_kind_is_known_by_its_description(kind: Input, values: dict[str, Any]) -> None:
    # An export has the encoder of features below its model.
    of_export = TEXTS if is_keras_file(values["preset"]) else TOKENS
    exported = of_export if kind is FEATURES else kind
    assert kinds_in(described(kind, values).exported) == [exported]


@every_kind
def test_new_text_becomes_what_a_trial_has_seen(
    kind: Input, corpus: Corpus, values: dict[str, Any]
) -> None:
    inputs = described(kind, values)
    vocabulary = kind.vocabulary(corpus, inputs)
    others = kind.encode(TRAIN, vocabulary, inputs)
    new = replace(encode(TRAIN, corpus.words(values["vocab_size"])), others=others)
    seen = view_of(kind, corpus.split("train").texts, values)
    again = view_of(kind, new, values)
    for rows in (ROWS, ROWS[3:4]):
        if kind is FEATURES:  # The padding of a batch changes how sums are rounded.
            np.testing.assert_allclose(again.batch(rows), seen.batch(rows), atol=1e-5)
        else:
            np.testing.assert_array_equal(again.batch(rows), seen.batch(rows))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_ids_of_ngrams_are_those_of_the_largest_vocabulary(corpus: Corpus, order: int) -> None:
    values: dict[str, Any] = {"ngrams": order, "ngram_vocab_size": 10_000}
    items = (Hyperparameter(name="ngrams", kind="fixed", default=order),)
    n_ids = NGRAMS.n_ids(corpus, SearchSpace("s", items), values)
    assert n_ids == len(corpus.ngrams(order=order, vocab_size=10_000)) + 2
    # A space of texts may use the names for something else; a branch may have no n-grams.
    assert NGRAMS.n_ids(corpus, SearchSpace("s", items, takes_texts=True), values) is None
    assert NGRAMS.n_ids(corpus, SearchSpace("s", items), {"vocab_size": 9}) is None


@every_kind
def test_standalone_tokenizer_gives_what_a_trial_has_seen(
    kind: Input, corpus: Corpus, values: dict[str, Any], tmp_path: Path
) -> None:
    inputs = described(kind, values)
    if kind is FEATURES:
        pytest.skip("an export takes tokens in the place of features")
    if kind is TEXTS:
        assert tokenizer.make_encoders(tmp_path, **unstructure(inputs)) == {}
        return
    if kind.file:  # An export writes no other files.
        kind.write(kind.vocabulary(corpus, inputs), tmp_path)
    (encode_text,) = tokenizer.make_encoders(tmp_path, **unstructure(inputs)).values()
    rows = view_of(kind, corpus.split("train").texts, values).batch(ROWS)
    for text, row in zip(TRAIN, rows.tolist(), strict=True):
        ids = encode_text(text)
        assert row == tokenizer.padded(ids, len(row))


@every_kind
def test_layers_give_what_a_trial_has_seen(
    kind: Input, corpus: Corpus, values: dict[str, Any]
) -> None:
    if kind is FEATURES:
        texts = corpus.split("train").texts
        if is_keras_file(values["preset"]):
            given, batch = keras.Input((), dtype="string"), np.array(TRAIN, dtype=object)
        else:
            given = keras.Input((None,), dtype="int32")
            batch = view_of(TOKENS, texts, values).batch(ROWS)
        model = keras.Model(given, kind.layers(given, None, described(kind, values)))
        seen = view_of(kind, texts, values).batch(ROWS)
        np.testing.assert_allclose(model.predict_on_batch(batch), seen, atol=1e-5)
        return
    if not kind.has_layers:
        with pytest.raises(NotImplementedError):
            kind.layers(None, None, described(kind, values))
        return
    inputs = described(kind, values)
    text = keras.Input((), dtype="string")
    model = keras.Model(text, kind.layers(text, kind.vocabulary(corpus, inputs), inputs))
    ids = model.predict_on_batch(np.array(TRAIN, dtype=object))
    view = view_of(kind, corpus.split("train").texts, values)
    for mine, expected in zip(ids, view.batch(ROWS), strict=True):
        n = max(len(mine), len(expected))  # Keras' layers pad n-grams to another width.
        assert sorted(np.pad(mine, (0, n - len(mine)))) == sorted(
            np.pad(expected, (0, n - len(expected)))
        )


@every_kind
def test_view_says_what_its_batches_are(
    kind: Input, corpus: Corpus, values: dict[str, Any]
) -> None:
    view = view_of(kind, corpus.split("train").texts, values)
    for rows in (ROWS, ROWS[5:7]):
        batch = view.batch(rows)
        assert batch.dtype == (object if view.dtype == "string" else np.dtype(view.dtype))
        assert len(batch) == len(rows)
        assert batch.shape[1:2] in ((), (view.width(rows),))
        for size, expected in zip(batch.shape[1:], view.shape, strict=True):
            assert expected in (None, size)
        if view.dtype != "string":
            assert view.n_bytes(rows) == batch.nbytes
        np.testing.assert_array_equal(view.lengths_of(rows), view.lengths[rows])
    example = kind.example(values, shape=(), n_rows=3, n_tokens=6)
    assert len(example) == 3 and example.dtype == batch.dtype


@every_kind
def test_stored_texts_can_be_joined_and_copied_into_memory(
    kind: Input, corpus: Corpus, values: dict[str, Any]
) -> None:
    train, validation = corpus.split("train"), corpus.split("validation")
    both = (train + validation).in_memory()
    rows = np.arange(len(both.labels))
    assert both.labels.tolist() == [*train.labels, *validation.labels]
    expected = [
        row
        for split in (train, validation)
        for row in view_of(kind, split.texts, values).batch(np.arange(len(split.labels))).tolist()
    ]
    joined = view_of(kind, both.texts, values).batch(rows).tolist()
    assert [*map(unpadded, joined)] == [*map(unpadded, expected)]
    for stored in (both.texts, *both.texts.others.values()):
        assert not any(isinstance(value, np.memmap) for value in vars(stored).values())


@every_kind
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, len(REVIEWS) - 1)), st.integers(1, 20))
def test_rows_can_be_split_again(
    kind: Input, corpus: Corpus, values: dict[str, Any], chosen: set[int], chunk_rows: int
) -> None:
    def rows_of(split: LabeledTexts) -> list[tuple[int, Any]]:
        view = view_of(kind, split.texts, values)
        rows = np.arange(len(split.labels))
        return [
            (label, unpadded(row))
            for label, row in zip(split.labels.tolist(), view.batch(rows).tolist(), strict=True)
        ]

    splits = corpus.split("train"), corpus.split("validation")
    rows = rows_of(splits[0] + splits[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract, "SELECTED_ROWS", chunk_rows)
        of_validation = np.array(sorted(chosen), dtype=np.int64)
        of_train = np.setdiff1d(np.arange(len(rows)), of_validation)
        train, validation = resplit(*splits, (of_train, of_validation))
    assert rows_of(validation) == [row for number, row in enumerate(rows) if number in chosen]
    assert rows_of(train) == [row for number, row in enumerate(rows) if number not in chosen]


def test_training_gets_only_the_inputs_of_its_configuration(
    corpus: Corpus, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(preset_features, "run_child", call_in_this_process)
        build_features(corpus, values["preset"], length=5)
    split = corpus.split("train")
    texts = narrowed(split, {**values, "feature_length": 5}, takes_texts=False).texts
    assert FEATURES.key_in(values) in split.texts.others.keys() - texts.others.keys()
    assert view_of(FEATURES, texts, {**values, "feature_length": 5}).width(ROWS) == 16
    assert narrowed(split, {}, takes_texts=False).texts.others.keys() == {NGRAMS.key}
    assert narrowed(split, {}, takes_texts=True).texts.others.keys() == {NGRAMS.key, TEXTS.key}


@pytest.mark.parametrize("names", [("tokens", "features"), ("ids", "words")])
def test_words_and_ngrams_stand_beside_one_other_input(names: tuple[str, ...]) -> None:
    require_readable(("tokens", "ids", "ngrams"))
    with pytest.raises(SpaceError, match="inputs '" + "', '".join(names)):
        require_readable(names)


def test_default_space_trains_a_head_on_features_beside_words_and_ngrams(
    corpus: Corpus, values: dict[str, Any]
) -> None:
    path = ROOT / "search_spaces" / "frozen_encoder.py"
    space = declare(path, n_classes=2, preset=values["preset"]).hyperparameters
    point = {"architecture": "both", "has_words": True}
    of_space = resolve_point(point, space, name="The point")
    assert of_space["sequence_length"] == of_space["feature_length"]
    sizes = ("vocab_size", "sequence_length", "feature_length", "ngrams", "ngram_vocab_size")
    tiny = of_space | {name: values[name] for name in sizes}
    job = TrainingJob(values=tiny, target=TWO, train=TrainConfig(epochs=1), seed=0)
    train = corpus.split("train")
    model, result = fit(load_hypermodel(path), job, train=train, validation=train)
    assert result.history[-1].metrics["val_accuracy"] > 0.9
    batch = make_view(model, tiny, train.texts).batch(ROWS)
    assert isinstance(batch, dict) and batch["ids"].shape == (len(ROWS), 6)
    assert np.ptp(model.predict_on_batch(batch)) > 0.01
    with pytest.raises(SpaceBug, match=r"must be \(6, 'middle'\); they are \(6, 'pre'\)"):
        make_view(model, tiny | {"truncating": "pre"}, train.texts)


def test_damaged_files_are_as_if_they_were_not_prepared(corpus: Corpus, tmp_path: Path) -> None:
    bare = build_corpus(tmp_path / ("f" * 16), splits_of(TRAIN, VALIDATION, TRAIN[:2]))
    assert all(kind.stored(bare, "train") == {} for kind in KINDS.values())
    for folder in (bare.ngrams_dir, bare.texts_dir):
        (folder / "train").mkdir(parents=True)
        for name in ("ids.npy", "offsets.npy", "texts.bin"):
            (folder / "train" / name).write_bytes(b"damaged")
    assert all(kind.stored(bare, "train") == {} for kind in KINDS.values())


class Characters(Input):
    """The first characters of a text, a kind that exists in this test alone."""

    name = key = "characters"
    hyperparameters = ("n_characters",)
    declared_by = "n_characters"
    what = "characters"

    def view(
        self, texts: TokenizedTexts, values: Values, *, shape: Shape, ignores_padding: bool
    ) -> InputView:
        stored = texts.others[self.key]
        assert isinstance(stored, IdTexts)
        return WordView(
            stored,
            vocab_size=256,
            sequence_length=int(values["n_characters"]),
            pads_to_longest=shape == (None,),
        )

    def is_in(self, inputs: ModelInput) -> bool:
        return False

    def describe(self, values: Values) -> dict[str, Any]:
        return {}

    def encode(
        self, texts: Sequence[str], vocabulary: Any, inputs: ModelInput
    ) -> dict[str, Stored]:
        rows = [text.encode() for text in texts]
        ids = np.frombuffer(b"".join(rows), np.uint8).astype(np.int32)
        return {self.key: IdTexts(ids, np.cumsum([0, *map(len, rows)]))}


class ByCharacters(keras_tuner.HyperModel):
    def __init__(self, length: int | None) -> None:
        super().__init__()
        self.length = length

    def build(self, hp: Any) -> keras.Model:
        characters = keras.Input((self.length,), dtype="int32", name="characters")
        x = keras.layers.Embedding(256, 4, mask_zero=True)(characters)
        x = keras.layers.GlobalAveragePooling1D()(x)
        model = keras.Model(characters, keras.layers.Dense(1, "sigmoid")(x))
        model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy")
        return model


@pytest.mark.parametrize("length", [None, 9])
def test_training_asks_a_kind_that_it_does_not_know(
    length: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = Characters()
    monkeypatch.setitem(KINDS, kind.name, kind)
    texts = ["!!! good", "bad", "fine!", "so so"] * 20
    inputs = ModelInput(vocab_size=0, sequence_length=0, truncating="pre")
    others = kind.encode(texts, None, inputs)
    labels = np.array([1, 0, 1, 0] * 20)
    split = LabeledTexts(replace(encode(texts, []), others=others), labels)
    job = TrainingJob(
        values={"n_characters": 9}, target=TWO, train=TrainConfig(epochs=20, batch_size=8), seed=0
    )
    _, result = fit(ByCharacters(length), job, train=split, validation=split)
    assert result.history[-1].metrics["val_accuracy"] == 1.0
