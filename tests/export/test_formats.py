"""Every format of every kind of model and target predicts as the training pipeline. The parity
check compares the predictions, in a process that has only the runtime of the format.
"""

import contextlib
import fcntl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.export.models import (
    CLASSIFIERS,
    FIVE_CLASSES,
    KINDS,
    LENGTH,
    LOGITS,
    NGRAM_MODELS,
    NGRAM_VALUES,
    ROWS,
    TARGETS,
    TWO_CLASSES,
    VALUES,
    Reviews,
    bidirectional,
    build,
    embedding,
    model_of_logits,
    predicted_alone,
    source_of,
    stacked,
    write_formats,
)
from tests.numbered import TWO
from tuning.errors import ExportError, StorageError
from tuning.export import formats
from tuning.export.formats import pipeline_probabilities
from tuning.export.parity import HOSTILE_TEXTS, Measurements, check_parity
from tuning.export.writers import Source, raw_text_model, write_format
from tuning.inference.load import load_unverified
from tuning.inference.runtimes import FORMATS, Format
from tuning.targets import kinds as targets

NO_KERAS = {"model that is not traceable": {"model.keras", "model.h5"}}


def test_every_kind_of_target_has_a_model() -> None:
    assert {target.kind for target in TARGETS.values()} == targets.KINDS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_kind_of_model_has_every_format(kind: str, reviews: Reviews, tmp_path: Path) -> None:
    keras.backend.clear_session()
    values = NGRAM_VALUES if kind in NGRAM_MODELS else VALUES
    target = TARGETS.get(kind, TWO_CLASSES)
    source = source_of(KINDS[kind](), reviews.corpus, values, target=target)
    result, left_out = write_formats(tmp_path, source, reviews), NO_KERAS.get(kind, set())
    assert {*result.left_out} == left_out, result.left_out
    assert {*result.forms} == {known.path for known in FORMATS.values()} - left_out
    vocabularies = {"vocabulary.txt": source.inputs.vocab_size, "ngrams.txt": source.inputs.ngrams}
    for name, is_used in vocabularies.items():
        assert (tmp_path / name).exists() is bool(is_used)
    if kind in ("lazy_sequential", "masked, five classes"):
        assert_signatures(tmp_path / "saved_model")


def assert_signatures(folder: Path) -> None:
    """Check that the signatures of a SavedModel give probabilities and the class."""
    texts = tf.constant([text.encode("utf-8", "replace") for text in HOSTILE_TEXTS])
    signatures = tf.saved_model.load(str(folder)).signatures
    probabilities = signatures["serving_default"](text=texts)["probabilities"].numpy()
    classified = signatures["classify"](text=texts)
    winners = [f"class {winner}".encode() for winner in probabilities.argmax(axis=1)]
    assert classified["label"].numpy().tolist() == winners
    np.testing.assert_array_equal(classified["probability"].numpy(), probabilities.max(axis=1))
    # A server calls a signature with texts of any number in the same way.
    program = Path(sys.executable).with_name("saved_model_cli")
    command = [program, "run", "--dir", folder, "--tag_set", "serve", "--signature_def", "classify"]
    command += ["--input_exprs", 'text=["great lovely"]']
    answered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "class " in answered and "probability" in answered


@pytest.mark.parametrize("kind", LOGITS)
def test_probabilities_of_logits_are_those_of_their_loss(kind: str, reviews: Reviews) -> None:
    model = model_of_logits(kind)
    source = source_of(model, reviews.corpus)
    logits = np.asarray(model(np.ones((1, LENGTH), np.int32)), np.float32).reshape(-1)
    unknown = " ".join(["zzqxv"] * LENGTH)
    of_class_1 = logits[0] if len(logits) == 1 else logits[1] - logits[0]
    probabilities = pipeline_probabilities(source, [unknown])
    np.testing.assert_allclose(probabilities[0, 1], 1 / (1 + np.exp(-of_class_1)), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "truncating"), [("baseline", "pre"), ("masked", "middle"), ("bidirectional", "post")]
)
def test_raw_text_model_equals_the_pipeline(reviews: Reviews, truncating: str, kind: str) -> None:
    values = {**VALUES, "truncating": truncating}
    source = source_of(build(kind, 0.3, 5), reviews.corpus, values, target=FIVE_CLASSES)
    expected = pipeline_probabilities(source, reviews.texts)
    texts = tf.constant([text.encode(errors="replace") for text in reviews.texts])
    probabilities = raw_text_model(source).predict_on_batch(texts)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert len(np.unique(expected[:, 1].round(6))) > 20


def test_probability_of_class_0_is_computed_in_single_precision(reviews: Reviews) -> None:
    """1 - p has fewer digits than p in half precision."""
    head = keras.layers.Dense(1, activation="sigmoid", dtype="mixed_bfloat16")
    model = stacked(embedding(masked=False), keras.layers.GlobalAveragePooling1D(), head)
    source = source_of(model, reviews.corpus)
    output = model(np.arange(4 * LENGTH, dtype=np.int32).reshape(4, LENGTH))
    probabilities = np.asarray(source.predictions(output))
    assert probabilities.dtype == np.float32
    alone = np.asarray(output).astype(np.float32)[:, 0]
    np.testing.assert_array_equal(probabilities[:, 0], 1 - alone)


@pytest.mark.usefixtures("onnx_alone")
def test_classifier_has_an_onnx_format(reviews: Reviews, tmp_path: Path) -> None:
    result = write_formats(tmp_path, source_of(CLASSIFIERS["gru"](), reviews.corpus), reviews)
    assert (list(result.forms), result.left_out, result.limits) == (["model.onnx"], {}, [])


@pytest.fixture
def baseline(reviews: Reviews) -> Source:
    return source_of(build("baseline", 0.0, 2), reviews.corpus)


def test_format_without_a_writer_is_a_bug(tmp_path: Path) -> None:
    """An `ExportError` would leave the format out of each export."""
    source: Any = None
    with pytest.raises(KeyError):
        write_format("other", source, tmp_path / "model.other")


def write_onnx(source: Source, folder: Path) -> None:
    formats._write_vocabularies(folder, source)
    write_format("onnx", source, folder / "model.onnx")


def check_onnx(source: Source, reviews: Reviews, folder: Path, expected: Any) -> Measurements:
    options: dict[str, Any] = {"inputs": source.inputs, "target": TWO, "texts": reviews.texts}
    return check_parity(folder, "onnx", **options, expected=expected)


def test_format_that_differs_is_refused(baseline: Source, reviews: Reviews, tmp_path: Path) -> None:
    write_onnx(baseline, tmp_path)
    expected = pipeline_probabilities(baseline, reviews.texts)
    measured = check_onnx(baseline, reviews, tmp_path, expected)
    assert measured.max_difference <= 1e-5
    expected[3] += 2e-5
    with pytest.raises(ExportError, match=r"difference is 2e-05 for text 3 of \d+, .* in a batch"):
        check_onnx(baseline, reviews, tmp_path, expected)


def test_nan_that_the_model_does_not_give_is_a_difference(reviews: Reviews, tmp_path: Path) -> None:
    # The mean over no token is NaN.
    source = source_of(bidirectional(n_classes=2), reviews.corpus)
    write_onnx(source, tmp_path)
    expected = pipeline_probabilities(source, reviews.texts)
    assert np.isnan(expected[0]).all()
    check_onnx(source, reviews, tmp_path, expected)
    expected[0] = 0.5
    with pytest.raises(ExportError, match="the difference is nan for text 0"):
        check_onnx(source, reviews, tmp_path, expected)


def test_format_whose_answer_depends_on_the_other_texts_is_refused(
    reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph accepts ids of any length, but the model reads its padding. Its probabilities are
    right in a batch with a long text, and wrong for a text alone.
    """
    head = keras.layers.Dense(1, activation="sigmoid")
    model = stacked(embedding(masked=False), keras.layers.LSTM(3), head)
    source = source_of(model, reviews.corpus)
    expected = pipeline_probabilities(source, reviews.texts)
    monkeypatch.setattr("tuning.export.writers.ignores_padding", lambda model: True)
    write_onnx(source, tmp_path)
    with pytest.raises(ExportError, match=r"for text \d+ of \d+, predicted alone"):
        check_onnx(source, reviews, tmp_path, expected)


class Noise(keras.layers.Layer):
    """A layer that needs TensorFlow: a hash of the ids' digits as strings."""

    def call(self, ids: Any) -> Any:
        return tf.cast(tf.strings.to_hash_bucket_fast(tf.strings.as_string(ids), ROWS), tf.int32)


def test_format_that_can_not_carry_the_model_is_left_out_with_the_reason(
    reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "FORMATS", {name: FORMATS[name] for name in ("onnx",)})
    head = keras.layers.Dense(1, activation="sigmoid")
    model = stacked(Noise(), embedding(masked=False), keras.layers.LSTM(3), head)
    result = write_formats(tmp_path, source_of(model, reviews.corpus), reviews)
    assert result.forms == {}
    assert set(result.left_out) == {"model.onnx"}
    assert all(reason and str(tmp_path) not in reason for reason in result.left_out.values())
    assert {path.name for path in tmp_path.iterdir()} == {"vocabulary.txt", "tokenizer.py"}


def test_required_format_that_fails_its_check_ends_the_export(
    baseline: Source, reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = Format("model.onnx", "raw text", ("onnxruntime",), 1e-9)
    monkeypatch.setattr(formats, "FORMATS", {"keras": onnx})
    monkeypatch.setattr(formats, "write_format", lambda name, source, path: path.write_bytes(b"x"))
    monkeypatch.setattr(
        formats, "check_parity", lambda folder, name, **rest: check_parity(folder, "onnx", **rest)
    )
    with pytest.raises(ExportError, match=r"model\.onnx must be a model"):
        write_formats(tmp_path, baseline, reviews)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ExportError("it is refused."), ExportError, "it is refused"),
        # A full disk is no reason to leave a format out.
        (OSError(28, "No space left on device"), StorageError, "No space left"),
    ],
)
def test_required_format_that_can_not_be_written_ends_the_export_before_a_check(
    error: Exception,
    kind: type[Exception],
    words: str,
    baseline: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So the models are not evaluated on the test split."""

    def refuse(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(formats, "FORMATS", {"saved_model": FORMATS["saved_model"]})
    monkeypatch.setattr(formats, "write_format", refuse)
    with (
        pytest.raises(kind, match=words),
        formats.write_formats(tmp_path, baseline, test_texts=["good"]),
    ):
        pytest.fail("the export goes on")


def test_no_check_begins_after_an_error(
    baseline: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def check(folder: Path, format_name: str, **rest: Any) -> None:
        begun.append(format_name)
        time.sleep(0.5)

    monkeypatch.setattr(formats, "write_format", lambda name, source, path: path.touch())
    monkeypatch.setattr(formats, "check_parity", check)
    with (
        pytest.raises(KeyboardInterrupt),
        formats.write_formats(tmp_path, baseline, test_texts=["good"]),
    ):
        raise KeyboardInterrupt
    assert len(begun) == formats.N_CHECKS < len(FORMATS)


def test_h5_format_of_a_chain_of_layers_has_no_private_modules_of_keras(
    baseline: Source, tmp_path: Path
) -> None:
    """Another version of Keras may lack them."""
    write_format("h5", baseline, tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as file:
        assert "keras.src" not in str(file.attrs["model_config"])


def test_h5_format_is_written_while_a_starting_process_has_a_copy_of_its_lock(
    baseline: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parity checks of the other formats start processes in threads."""
    path, save = tmp_path / "model.h5", keras.Model.save
    with contextlib.ExitStack() as locks:

        def save_and_lock(model: keras.Model, *arguments: Any, **options: Any) -> None:
            save(model, *arguments, **options)
            fcntl.flock(locks.enter_context(path.open("rb")), fcntl.LOCK_EX)

        monkeypatch.setattr(keras.Model, "save", save_and_lock)
        write_format("h5", baseline, path)
    assert isinstance(keras.models.load_model(path, compile=False), keras.Model)


@pytest.mark.parametrize("kind", NGRAM_MODELS)
def test_onnx_format_of_a_model_of_ngrams_gives_the_pipeline_s_probabilities(
    kind: str, reviews: Reviews, tmp_path: Path
) -> None:
    source = source_of(NGRAM_MODELS[kind](), reviews.corpus, NGRAM_VALUES)
    write_onnx(source, tmp_path)
    texts = [*HOSTILE_TEXTS, *reviews.texts[-3:]]
    expected = pipeline_probabilities(source, texts)
    run = load_unverified(tmp_path, "onnx", inputs=source.inputs, target=TWO)
    np.testing.assert_allclose(run(texts), expected, atol=1e-5)
    alone = np.concatenate([run([text]) for text in texts])
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    assert len(np.unique(expected[:, 1].round(5))) > 3
    answer = predicted_alone(tmp_path, source, texts)
    np.testing.assert_allclose(answer[:, -1], expected[:, 1], atol=1e-5)
