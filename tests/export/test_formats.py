"""Every format of every architecture gives the probabilities of the training pipeline, in a process
that has only the runtime of that format.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.export.models import (
    LENGTH,
    NGRAM_MODELS,
    ROWS,
    WIDTH,
    Reviews,
    bidirectional,
    build,
    labels_of,
    spread,
)
from tests.formats import write_formats
from tests.models.classifiers import classifier
from tests.numbered import TWO
from tests.paths import ROOT
from tests.styles import ROWS as STYLE_ROWS
from tests.styles import STYLES
from tuning.documents import unstructure
from tuning.errors import ExportError
from tuning.export import formats
from tuning.export.formats import (
    accuracy_change,
    model_input,
    pipeline_probabilities,
)
from tuning.export.manifest import WrittenFormats
from tuning.export.parity import HOSTILE_TEXTS, check_parity
from tuning.export.writers import Source, raw_text_model, write_format
from tuning.inference.load import fastest_format, load_unverified
from tuning.inference.manifest import ModelInput
from tuning.inference.runtimes import FORMATS, Format
from tuning.inputs.corpus import Corpus
from tuning.models import (
    bilstm_features,
    cnn_features,
    gru_features,
    mean_features,
)
from tuning.targets.classes import Classes
from tuning.training.architecture import ensure_built
from tuning.training.loss_form import form_of_loss

KINDS = ("baseline", "masked", "bidirectional")
CASES = [(kind, *options) for kind in KINDS for options in ((0.0, 2), (0.3, 5))]

# This code loads one format of each folder while all modules except its runtime are blocked.
ALONE = """
import json, sys
from pathlib import Path
request = json.load(sys.stdin)
for module in request["blocked"]:
    sys.modules[module] = None
from tuning.documents import structure
from tuning.inference.load import load_unverified
from tuning.inference.manifest import ModelInput
from tuning.targets.kinds import target_of
inputs = structure(request["input"], ModelInput)
def predict(name, n_classes):
    target = target_of(map(str, range(n_classes)))
    run = load_unverified(Path(name), request["format"], inputs=inputs, target=target)
    return run(request["texts"]).tolist()
answer = {name: predict(name, n_classes) for name, n_classes in request["n_classes"].items()}
json.dump(answer, sys.stdout)
"""


INPUT = ModelInput(vocab_size=ROWS, sequence_length=LENGTH, truncating="pre")


def source_of(
    model: keras.Model, corpus: Corpus, *, truncating: str = "pre", n_classes: int = 2
) -> Source:
    inputs = replace(INPUT, truncating=truncating)
    target = Classes(tuple(f"class {n}" for n in range(n_classes)))
    return Source(model, inputs, corpus.words(ROWS), [], target)


def expected_of(
    model: keras.Model, reviews: Reviews, *, truncating: str = "pre", n_classes: int = 2
) -> Any:
    values = {"vocab_size": ROWS, "sequence_length": LENGTH, "truncating": truncating}
    source = source_of(model, reviews.corpus, truncating=truncating, n_classes=n_classes)
    return pipeline_probabilities(source, values, reviews.texts)


@pytest.mark.parametrize(
    ("kind", "truncating"),
    # A text is cut before the model gets it, so one kind of model shows every place of the cut.
    [*((kind, "middle") for kind in KINDS), ("baseline", "pre"), ("baseline", "post")],
)
def test_raw_text_model_equals_the_pipeline(reviews: Reviews, truncating: str, kind: str) -> None:
    model = build(kind, 0.3, 5)
    expected = expected_of(model, reviews, truncating=truncating, n_classes=5)
    raw = raw_text_model(source_of(model, reviews.corpus, truncating=truncating, n_classes=5))
    probabilities = raw.predict_on_batch(
        tf.constant([text.encode(errors="replace") for text in reviews.texts])
    )
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert len(np.unique(expected[:, 1].round(6))) > 20


@pytest.fixture(scope="module")
def written(
    reviews: Reviews, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[int, Any]]:
    """Return the copied exports of every architecture in every format.

    For each folder, the value contains the number of classes and the probabilities of the pipeline.
    """
    first, exports = tmp_path_factory.mktemp("written"), {}
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copies"
    for kind, dropout, n_classes in CASES:
        keras.backend.clear_session()
        model, name = build(kind, dropout, n_classes), f"{kind}-{dropout}-{n_classes}"
        (first / name).mkdir()
        source = source_of(model, reviews.corpus, n_classes=n_classes)
        (first / name / "vocabulary.txt").write_bytes("\n".join(source.words).encode())
        for format_name, export_format in FORMATS.items():
            write_format(format_name, source, first / name / export_format.path)
        exports[str(elsewhere / name)] = (
            n_classes,
            expected_of(model, reviews, n_classes=n_classes),
        )
    first.rename(elsewhere)
    return exports


@pytest.mark.slow
@pytest.mark.parametrize("format_name", FORMATS)
def test_format_gives_the_pipeline_s_probabilities_with_its_runtime_alone(
    format_name: str, written: dict[str, tuple[int, Any]], reviews: Reviews
) -> None:
    runtimes = {
        "tensorflow",
        "keras",
        "onnxruntime",
        "ai_edge_litert",
        "onnx",
        "tf2onnx",
        "optuna",
        "keras_tuner",
    }
    request = {
        "blocked": sorted(runtimes - set(FORMATS[format_name].needs)),
        "format": format_name,
        "texts": reviews.texts,
        "input": unstructure(INPUT),
        "n_classes": {folder: n_classes for folder, (n_classes, _) in written.items()},
    }
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=env,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert len(answer) == len(CASES)
    if format_name == "litert_int8":
        assert all(
            (Path(folder) / "model_int8.tflite").stat().st_size
            < (Path(folder) / "model.tflite").stat().st_size
            for folder in written
        )
    for folder, (_, expected) in written.items():
        probabilities = np.array(answer[folder])
        if FORMATS[format_name].tolerance is None:
            assert np.nanmean(probabilities.argmax(axis=1) == expected.argmax(axis=1)) > 0.9, folder
            # The weights are rounded, but the probabilities are close.
            assert 0 < np.nanmax(np.abs(probabilities - expected)) < 0.1, folder
        else:
            np.testing.assert_allclose(
                probabilities, expected, atol=FORMATS[format_name].tolerance, rtol=0, err_msg=folder
            )


@pytest.mark.slow
def test_signatures_are_those_that_saved_model_cli_shows(
    written: dict[str, tuple[int, Any]],
) -> None:
    folder = Path(next(folder for folder in written if "masked-0.3-5" in folder)) / "saved_model"
    command = [str(Path(sys.executable).with_name("saved_model_cli"))]
    shown = subprocess.run(
        [*command, "show", "--dir", folder, "--all"], capture_output=True, text=True, check=True
    ).stdout
    signatures = {part.split("'")[0]: part for part in shown.split("signature_def['")[1:]}
    assert {"serving_default", "classify"} <= set(signatures)
    for name, outputs in {
        "serving_default": ["probabilities"],
        "classify": ["label", "probability"],
    }.items():
        assert (
            "inputs['text'] tensor_info:\n        dtype: DT_STRING\n        shape: (-1)"
            in signatures[name]
        )
        assert all(f"outputs['{output}']" in signatures[name] for output in outputs)
    # A server calls the signature with one text in the same way.
    run = [
        "run",
        "--dir",
        folder,
        "--tag_set",
        "serve",
        "--signature_def",
        "classify",
        "--input_exprs",
        'text=["great lovely"]',
    ]
    answered = subprocess.run([*command, *run], capture_output=True, text=True, check=True).stdout
    assert "class " in answered and "probability" in answered


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [2, 5])
def test_classify_gives_the_most_probable_class_of_serving_default(
    n_classes: int, written: dict[str, tuple[int, Any]]
) -> None:
    name = {2: "baseline-0.0-2", 5: "baseline-0.3-5"}[n_classes]
    folder = Path(next(folder for folder in written if name in folder))
    texts = tf.constant([text.encode("utf-8", "replace") for text in HOSTILE_TEXTS])
    signatures = tf.saved_model.load(str(folder / "saved_model")).signatures
    probabilities, classified = (
        signatures["serving_default"](text=texts)["probabilities"].numpy(),
        signatures["classify"](text=texts),
    )
    winners = [f"class {winner}".encode() for winner in probabilities.argmax(axis=1)]
    assert classified["label"].numpy().tolist() == winners
    np.testing.assert_array_equal(classified["probability"].numpy(), probabilities.max(axis=1))


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_layers_without_a_graph_of_ours_go_through_tf2onnx(
    reviews: Reviews, tmp_path: Path
) -> None:
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(ROWS, WIDTH, mask_zero=True)(ids)
    both = keras.layers.Add()([x, keras.layers.GRU(WIDTH, return_sequences=True)(x)])
    model = keras.Model(
        ids, keras.layers.Dense(1, activation="sigmoid")(keras.layers.LSTM(3)(both))
    )
    model.compile("adam", "binary_crossentropy")
    test = reviews.splits.frames["test"]["text"].tolist()
    values = {"vocab_size": ROWS, "sequence_length": LENGTH}
    result = write_formats(
        tmp_path,
        spread(model),
        values,
        reviews.corpus,
        test_texts=test,
        test_labels=labels_of(reviews),
    )
    assert result.forms["model.onnx"].max_difference <= 1e-5
    assert result.left_out == {}


class Logits(keras.Model):
    """A subclassed model of logits."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.head = keras.layers.Dense(n_outputs)
        self.embed = keras.layers.Embedding(ROWS, WIDTH)
        self.pool = keras.layers.GlobalMaxPooling1D()

    def call(self, ids: Any) -> Any:
        return self.head(self.pool(self.embed(ids)))


class NumbersAlone(Logits):
    """A subclassed model that Keras can't trace as layers."""

    def call(self, ids: Any) -> Any:
        return super().call(tf.cast(ids, tf.int32))


def sequential(n_outputs: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(ROWS, WIDTH, mask_zero=True),
            keras.layers.LSTM(3),
            keras.layers.Dense(n_outputs),
        ]
    )


def in_a_row(n_outputs: int) -> keras.Model:
    """Return a model whose output has the shape (batch, 1, n_outputs)."""
    ids = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.GlobalMaxPooling1D(keepdims=True)(keras.layers.Embedding(ROWS, WIDTH)(ids))
    return keras.Model(ids, [keras.layers.Dense(n_outputs)(x)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "n_outputs", "left_out"),
    [
        (sequential, 1, ()),
        (sequential, 2, ()),
        (in_a_row, 1, ()),
        (Logits, 2, ()),
        # Keras can't load a class of the search space.
        (NumbersAlone, 1, ("model.keras", "model.h5")),
    ],
    ids=["one", "two", "in a row", "subclassed", "not traceable"],
)
def test_every_format_of_logits_gives_probabilities(
    make: Callable[[int], keras.Model],
    n_outputs: int,
    left_out: tuple[str, ...],
    reviews: Reviews,
    tmp_path: Path,
) -> None:
    model, values = make(n_outputs), {"vocab_size": ROWS, "sequence_length": LENGTH}
    losses = keras.losses
    loss = losses.BinaryCrossentropy if n_outputs == 1 else losses.SparseCategoricalCrossentropy
    model.compile("adam", loss(from_logits=True))
    ensure_built(model, sequence_length=LENGTH)
    form = form_of_loss(spread(model), TWO, sequence_length=LENGTH)
    result = write_formats(
        tmp_path,
        model,
        values,
        reviews.corpus,
        test_texts=reviews.splits.frames["test"]["text"].tolist(),
        test_labels=labels_of(reviews),
        to_probabilities=form.to_probabilities,
    )
    assert set(result.left_out) == set(left_out), result.left_out
    logits = np.asarray(model(np.ones((1, LENGTH), np.int32)), np.float32).reshape(1, -1)
    probability = 1 / (1 + np.exp(logits[0, 0] if n_outputs == 1 else np.diff(logits)[0, 0]))
    for path in set(result.forms) - {"model_int8.tflite"}:
        run = load_unverified(tmp_path, result.forms[path].form, inputs=INPUT, target=TWO)
        unknown = " ".join(["zzqxv"] * LENGTH)
        np.testing.assert_allclose(run([unknown])[0, 0], probability, atol=1e-3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_probability_of_class_0_is_computed_in_single_precision(
    policy: str, reviews: Reviews
) -> None:
    """1 - p has fewer digits than p in half precision."""
    ids = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(ROWS, WIDTH)(ids))
    model = keras.Model(ids, keras.layers.Dense(1, activation="sigmoid", dtype=policy)(x))
    source = Source.of(spread(model), INPUT, reviews.corpus)
    output = model(np.arange(4 * LENGTH, dtype=np.int32).reshape(4, LENGTH))
    probabilities = np.asarray(source.probabilities(output))
    assert probabilities.dtype == np.float32
    np.testing.assert_array_equal(
        probabilities[:, 0], 1 - np.asarray(output).astype(np.float32)[:, 0]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "masked"), [(style, place % 2 > 0) for place, style in enumerate(STYLES)]
)
def test_every_style_of_model_has_every_format(
    style: Callable[..., keras.Model], masked: bool, reviews: Reviews, tmp_path: Path
) -> None:
    model, values = style(masked=masked), {"vocab_size": STYLE_ROWS, "sequence_length": LENGTH}
    ensure_built(model, sequence_length=LENGTH)
    test = reviews.splits.frames["test"]["text"].tolist()
    result = write_formats(
        tmp_path,
        spread(model),
        values,
        reviews.corpus,
        test_texts=test,
        test_labels=labels_of(reviews),
    )
    assert set(result.forms) == {export_format.path for export_format in FORMATS.values()}, (
        result.left_out
    )
    float_formats = [
        name for name, export_format in FORMATS.items() if export_format.tolerance is not None
    ]
    assert all(result.forms[FORMATS[name].path].max_difference <= 1e-5 for name in float_formats)


CLASSIFIERS: dict[str, Callable[..., keras.Model]] = {
    "mean_embedding": partial(classifier, mean_features),
    "cnn": partial(classifier, cnn_features, filters=3),
    "bilstm_pooling": partial(classifier, bilstm_features, lstm_units=3),
    "gru": partial(classifier, gru_features, gru_units=3),
}


def formats_of_classifier(
    name: str, reviews: Reviews, folder: Path, **options: Any
) -> WrittenFormats:
    """Write the exports of a tiny classifier of `tuning.models`, whose weights are drawn with a
    seed: with few texts, int8 weights may change more labels than a format may.
    """
    keras.utils.set_random_seed(0)
    sizes = {"vocab_size": ROWS, "embedding_dim": WIDTH}
    return write_formats(
        folder,
        spread(CLASSIFIERS[name](**sizes, **options)),
        {"vocab_size": ROWS, "sequence_length": LENGTH},
        reviews.corpus,
        test_texts=reviews.splits.frames["test"]["text"].tolist(),
        test_labels=labels_of(reviews),
    )


@pytest.mark.usefixtures("onnx_alone")
@pytest.mark.parametrize("name", sorted({*CLASSIFIERS} - {"bilstm_pooling"}))
def test_classifier_has_an_onnx_format(name: str, reviews: Reviews, tmp_path: Path) -> None:
    result = formats_of_classifier(name, reviews, tmp_path)
    assert (list(result.forms), result.left_out, result.limits) == (["model.onnx"], {}, [])


@pytest.mark.slow
# The other classifiers differ in the graph of their ONNX format alone, which the test above writes.
@pytest.mark.parametrize("name", ["cnn", "bilstm_pooling"])
def test_classifier_has_every_format(name: str, reviews: Reviews, tmp_path: Path) -> None:
    result = formats_of_classifier(name, reviews, tmp_path, word_dropout=0.2)
    assert result.left_out == {} and result.limits == []
    assert set(result.forms) == {export_format.path for export_format in FORMATS.values()}


class Padded(keras.layers.Layer):
    """A layer of the user, which Keras can't load without its code."""

    def call(self, ids: Any) -> Any:
        return keras.ops.cast(ids, "int32")


@pytest.mark.slow
def test_model_with_a_layer_of_its_own_is_exported_without_the_keras_format(
    reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        formats, "FORMATS", {name: FORMATS[name] for name in ("keras", "saved_model")}
    )
    ids = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.LSTM(3)(keras.layers.Embedding(ROWS, WIDTH)(Padded()(ids)))
    model = keras.Model(ids, keras.layers.Dense(1, activation="sigmoid")(x))
    values = {"vocab_size": ROWS, "sequence_length": LENGTH}
    test = reviews.splits.frames["test"]["text"].tolist()
    result = write_formats(
        tmp_path, model, values, reviews.corpus, test_texts=test, test_labels=labels_of(reviews)
    )
    assert (set(result.forms), set(result.left_out)) == ({"saved_model"}, {"model.keras"})
    assert fastest_format(result.forms) == "saved_model"


def test_format_whose_answer_depends_on_the_other_texts_is_refused(
    reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph accepts ids of any length, but the model reads its padding. Its probabilities are
    right in a batch with a long text, and wrong for a text alone.
    """
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(ROWS, WIDTH)(ids)
    model = spread(
        keras.Model(ids, keras.layers.Dense(1, activation="sigmoid")(keras.layers.LSTM(3)(x)))
    )
    expected = expected_of(model, reviews)
    monkeypatch.setattr("tuning.export.writers.ignores_padding", lambda model: True)
    source = source_of(model, reviews.corpus)
    (tmp_path / "vocabulary.txt").write_bytes("\n".join(source.words).encode())
    write_format("onnx", source, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match=r"for text \d+ of \d+, predicted alone"):
        check_parity(
            tmp_path, "onnx", inputs=INPUT, target=TWO, texts=reviews.texts, expected=expected
        )


class Noise(keras.layers.Layer):
    """A layer that needs TensorFlow: a hash of the ids' digits as strings."""

    def call(self, ids: Any) -> Any:
        return tf.cast(tf.strings.to_hash_bucket_fast(tf.strings.as_string(ids), ROWS), tf.int32)


def test_format_that_can_not_carry_the_model_is_left_out_with_the_reason(
    reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "FORMATS", {name: FORMATS[name] for name in ("onnx", "litert")})
    ids = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.LSTM(3)(keras.layers.Embedding(ROWS, WIDTH)(Noise()(ids)))
    model = keras.Model(ids, keras.layers.Dense(1, activation="sigmoid")(x))
    model.compile("adam", "binary_crossentropy")
    values = {"vocab_size": ROWS, "sequence_length": LENGTH}
    test = reviews.splits.frames["test"]["text"].tolist()
    result = write_formats(
        tmp_path, model, values, reviews.corpus, test_texts=test, test_labels=labels_of(reviews)
    )
    assert result.forms == {}
    assert set(result.left_out) == {"model.onnx", "model.tflite"}
    assert all(reason and str(tmp_path) not in reason for reason in result.left_out.values())
    assert {path.name for path in tmp_path.iterdir()} == {"vocabulary.txt", "tokenizer.py"}


def test_required_format_that_fails_ends_the_export(
    reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        formats, "FORMATS", {"keras": Format("model.onnx", "raw text", ("onnxruntime",), 1e-9)}
    )
    monkeypatch.setattr(
        formats, "write_format", lambda format_name, source, path: path.write_bytes(b"junk")
    )
    monkeypatch.setattr(
        formats,
        "check_parity",
        lambda folder, format_name, **rest: check_parity(folder, "onnx", **rest),
    )
    test = reviews.splits.frames["test"]["text"].tolist()
    model, values = build("baseline", 0.0, 2), {"vocab_size": ROWS, "sequence_length": LENGTH}
    with pytest.raises(ExportError, match=r"model\.onnx must be a model"):
        write_formats(
            tmp_path, model, values, reviews.corpus, test_texts=test, test_labels=labels_of(reviews)
        )


def test_required_format_that_can_not_be_written_ends_the_export_before_a_check(
    reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the models are not evaluated on the test split."""

    def refuse(format_name: str, source: Source, path: Path) -> None:
        raise ExportError(f"{format_name} is refused.")

    monkeypatch.setattr(formats, "FORMATS", {"saved_model": FORMATS["saved_model"]})
    monkeypatch.setattr(formats, "write_format", refuse)
    model, values = build("baseline", 0.0, 2), {"vocab_size": ROWS, "sequence_length": LENGTH}
    test = reviews.splits.frames["test"]["text"].tolist()
    with (
        pytest.raises(ExportError, match="saved_model is refused"),
        formats.write_formats(
            tmp_path,
            Source.of(model, model_input(model, values), reviews.corpus),
            values,
            test_texts=test,
        ),
    ):
        pytest.fail("the export goes on")


def test_no_check_begins_after_an_error(
    reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def check(folder: Path, format_name: str, **rest: Any) -> None:
        begun.append(format_name)
        time.sleep(0.5)

    monkeypatch.setattr(formats, "write_format", lambda name, source, path: path.touch())
    monkeypatch.setattr(formats, "check_parity", check)
    model, values = build("baseline", 0.0, 2), {"vocab_size": ROWS, "sequence_length": LENGTH}
    test = reviews.splits.frames["test"]["text"].tolist()
    with (
        pytest.raises(KeyboardInterrupt),
        formats.write_formats(
            tmp_path,
            Source.of(model, model_input(model, values), reviews.corpus),
            values,
            test_texts=test,
        ),
    ):
        raise KeyboardInterrupt
    assert len(begun) == formats.N_CHECKS < len(FORMATS)


def test_format_that_differs_is_refused(reviews: Reviews, tmp_path: Path) -> None:
    model = build("baseline", 0.0, 2)
    source = source_of(model, reviews.corpus)
    (tmp_path / "vocabulary.txt").write_bytes("\n".join(source.words).encode())
    write_format("onnx", source, tmp_path / "model.onnx")
    expected = expected_of(model, reviews)
    assert (
        check_parity(
            tmp_path, "onnx", inputs=INPUT, target=TWO, texts=reviews.texts, expected=expected
        )[1].max_difference
        <= 1e-5
    )
    expected[3] += 2e-5
    with pytest.raises(
        ExportError,
        match=(r"at most 1e-05; the difference is 2e-05 for text 3 of \d+, predicted in a batch"),
    ):
        check_parity(
            tmp_path, "onnx", inputs=INPUT, target=TWO, texts=reviews.texts, expected=expected
        )


def test_nan_that_the_model_does_not_give_is_a_difference(reviews: Reviews, tmp_path: Path) -> None:
    # The mean over no token is NaN.
    model = bidirectional(n_classes=2)
    source = source_of(model, reviews.corpus)
    (tmp_path / "vocabulary.txt").write_bytes("\n".join(source.words).encode())
    write_format("onnx", source, tmp_path / "model.onnx")
    expected = expected_of(model, reviews)
    assert np.isnan(expected[0]).all()
    check_parity(tmp_path, "onnx", inputs=INPUT, target=TWO, texts=reviews.texts, expected=expected)
    expected[0] = 0.5
    with pytest.raises(ExportError, match="the difference is nan for text 0"):
        check_parity(
            tmp_path, "onnx", inputs=INPUT, target=TWO, texts=reviews.texts, expected=expected
        )


def test_change_of_accuracy_is_stated_and_bounded() -> None:
    labels = np.array([0, 1] * 100)
    model = np.eye(2)[labels]
    changed = model.copy()
    # Two of the 200 predictions become wrong.
    changed[:2] = changed[:2, ::-1]
    stated = accuracy_change(TWO, labels, changed, model)
    assert (stated.of_the_model, stated.of_the_form) == (1.0, 0.99)
    assert stated.change == pytest.approx(-0.01)
    assert stated.same_label_share == 0.99
    assert stated.change_low < -0.01 < stated.change_high
    changed[:10] = 1 - model[:10]
    with pytest.raises(ExportError, match=r"at most 0\.02 below .*; on 200 texts .* is 0\.0500"):
        accuracy_change(TWO, labels, changed, model)


@pytest.mark.parametrize("n_texts", [8, 36, 49])
def test_a_single_text_is_no_reason_to_leave_a_format_out(n_texts: int) -> None:
    labels = np.arange(n_texts) % 2
    model = np.eye(2)[labels]
    changed = model.copy()
    changed[0] = 1 - model[0]
    assert accuracy_change(TWO, labels, changed, model).change == pytest.approx(-1 / n_texts)
    changed[1] = 1 - model[1]
    with pytest.raises(ExportError, match="at most"):
        accuracy_change(TWO, labels, changed, model)


def test_disk_that_is_full_is_no_reason_to_leave_a_format_out(
    reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuning.errors import StorageError

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "write_format", full)
    test = reviews.splits.frames["test"]["text"].tolist()
    model, values = build("baseline", 0.0, 2), {"vocab_size": ROWS, "sequence_length": LENGTH}
    with pytest.raises(StorageError, match="No space left"):
        write_formats(
            tmp_path, model, values, reviews.corpus, test_texts=test, test_labels=labels_of(reviews)
        )


def test_copy_of_the_tokenizer_is_importable_beside_the_vocabulary(tmp_path: Path) -> None:
    shutil.copyfile(ROOT / "tuning" / "data" / "tokenizer.py", tmp_path / "tokenizer.py")
    (tmp_path / "vocabulary.txt").write_text("it\nlove")
    (tmp_path / "export.json").write_text(
        json.dumps({"input": {"vocab_size": 4, "sequence_length": 3, "truncating": "pre"}})
    )
    code = (
        "import json; from tokenizer import load_tokenizer;"
        " print(json.dumps(load_tokenizer('.')(['I love it!', ''])))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"ids": [[1, 3, 2], [0, 0, 0]]}


NGRAM_VALUES = {
    "vocab_size": ROWS,
    "sequence_length": LENGTH,
    "truncating": "middle",
    "ngrams": 2,
    "ngram_vocab_size": ROWS,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["log-count ratios", "LSTM", "words and n-grams"])
def test_every_model_of_ngrams_has_every_format(
    kind: str, reviews: Reviews, tmp_path: Path
) -> None:
    test = reviews.splits.frames["test"]["text"].tolist()
    result = write_formats(
        tmp_path,
        spread(NGRAM_MODELS[kind]()),
        NGRAM_VALUES,
        reviews.corpus,
        test_texts=test,
        test_labels=labels_of(reviews),
    )
    assert set(result.forms) == {export_format.path for export_format in FORMATS.values()}, (
        result.left_out
    )
    assert (tmp_path / "ngrams.txt").exists()
    assert (tmp_path / "vocabulary.txt").exists() is ("words" in kind)


def test_h5_format_is_written_while_a_starting_process_has_a_copy_of_its_lock(
    reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parity checks of the other formats start processes in threads."""
    model = spread(NGRAM_MODELS["words and n-grams"]())
    source = Source.of(model, model_input(model, NGRAM_VALUES), reviews.corpus)
    path, save = tmp_path / "model.h5", keras.Model.save
    with contextlib.ExitStack() as locks:

        def save_and_lock(model: keras.Model, *arguments: Any, **options: Any) -> None:
            save(model, *arguments, **options)
            fcntl.flock(locks.enter_context(path.open("rb")), fcntl.LOCK_EX)

        monkeypatch.setattr(keras.Model, "save", save_and_lock)
        write_format("h5", source, path)
    assert isinstance(keras.models.load_model(path, compile=False), keras.Model)


@pytest.mark.parametrize("kind", NGRAM_MODELS)
def test_onnx_format_of_a_model_of_ngrams_gives_the_pipeline_s_probabilities(
    kind: str, reviews: Reviews, tmp_path: Path
) -> None:
    """The texts are predicted in one batch and alone, the empty text too. The parity check of the
    test above does the same for every format.
    """
    model = spread(NGRAM_MODELS[kind]())
    inputs = model_input(model, NGRAM_VALUES)
    source = Source.of(model, inputs, reviews.corpus)
    formats._write_vocabularies(tmp_path, source)
    write_format("onnx", source, tmp_path / FORMATS["onnx"].path)
    texts = [*HOSTILE_TEXTS[:3], *reviews.texts[-3:]]
    expected = pipeline_probabilities(source, NGRAM_VALUES, texts)
    run = load_unverified(tmp_path, "onnx", inputs=inputs, target=TWO)
    np.testing.assert_allclose(run(texts), expected, atol=1e-5)
    alone = np.concatenate([run([text]) for text in texts])
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    assert len(np.unique(expected[:, 1].round(5))) > 3


# This code runs the model as the page of the export describes, with NumPy and the runtime alone.
AS_THE_PAGE_SAYS = """
import json, sys
sys.path = [path for path in sys.path if path] + ["."]
import numpy as np
from tokenizer import load_tokenizer
inputs = load_tokenizer(".")(json.load(sys.stdin))
arrays = {name: np.array(rows, dtype=np.int32) for name, rows in inputs.items()}
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
print(json.dumps(session.run(["probabilities"], arrays)[0].tolist()))
assert not {"tuning", "keras", "tensorflow"} & set(sys.modules)
"""


@pytest.mark.parametrize("kind", ["log-count ratios", "LSTM", "n-grams and words"])
def test_tokenizer_of_the_export_gives_what_the_model_takes(
    kind: str, reviews: Reviews, tmp_path: Path
) -> None:
    model = spread(NGRAM_MODELS[kind]())
    inputs = model_input(model, NGRAM_VALUES)
    source = Source.of(model, inputs, reviews.corpus)
    formats._write_vocabularies(tmp_path, source)
    write_format("onnx", source, tmp_path / "model.onnx")
    (tmp_path / "export.json").write_text(json.dumps({"input": unstructure(inputs)}))
    done = subprocess.run(
        [sys.executable, "-c", AS_THE_PAGE_SAYS],
        input=json.dumps(list(HOSTILE_TEXTS)),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = pipeline_probabilities(source, NGRAM_VALUES, list(HOSTILE_TEXTS))
    answer = np.array(json.loads(done.stdout))
    if answer.shape[1] == 1:
        answer = np.concatenate([1 - answer, answer], axis=1)
    np.testing.assert_allclose(answer, expected, atol=1e-5)
