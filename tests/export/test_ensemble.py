"""Ensembles: the choice of their members, on made-up probabilities; and their model, whose output
is the mean of the outputs of its members, each with its own vocabulary, length and n-grams.
"""

import itertools
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.confirmations import with_repeats
from tests.export.models import (
    LENGTH,
    NGRAM_MODELS,
    ROWS,
    Reviews,
    bidirectional,
    build,
    labels_of,
    spread,
)
from tests.formats import write_formats
from tests.numbered import TWO, score
from tests.stored_documents import full_manifest
from tests.studies import Setting, copy_study
from tuning.confirmation.rounds import Confirmation
from tuning.errors import ArgumentError, ExportError, StudyError
from tuning.evaluation.predictions import read_probabilities
from tuning.evaluation.statistics import Interval
from tuning.evaluation.test_split import SINGLE
from tuning.export.ensemble import (
    N_AUTO_STEPS,
    Ensemble,
    Member,
    Repeat,
    WeightedModel,
    average,
    choose,
    choose_ensemble,
    choose_members,
    common_input,
    cross_fitted,
    mean_of_members,
    values_of_input,
)
from tuning.export.export import export_best
from tuning.export.formats import model_input, pipeline_probabilities
from tuning.export.writers import Source
from tuning.inference.load import classify
from tuning.inference.runtimes import FORMATS
from tuning.report.page import write_report
from tuning.results import ResultsDir
from tuning.search.confirm import ConfirmationSize, ConfirmHooks, confirm
from tuning.search.tune import Outcome
from tuning.spaces.ranges import Values, value_text
from tuning.study.handle import StudyHandle
from tuning.study.prepare import prepare_corpus
from tuning.targets.target import Array, Labels

Make = Callable[[], tuple[keras.Model, Values]]


def made_up(n_models: int, *, signal: float, n: int = 400, seed: int = 0) -> tuple[Array, Labels]:
    """Return the probabilities of models with independent errors, (n_models, n, 2), and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    logits = signal * (2 * labels - 1) + rng.normal(0, 1, (n_models, n))
    positive = 1 / (1 + np.exp(-logits))
    return np.stack([1 - positive, positive], axis=2), labels


def loss(probabilities: Array, labels: Labels) -> float:
    return score(labels, probabilities)["loss"]


@pytest.mark.parametrize("n_examples", [25, pytest.param(100, marks=pytest.mark.slow)])
def test_choice_of_any_size_is_no_worse_than_the_best_model_alone(n_examples: int) -> None:
    @settings(deadline=None, max_examples=n_examples)
    @given(st.integers(1, 6), st.floats(0, 2), st.integers(0, 99))
    def check(n_models: int, signal: float, seed: int) -> None:
        probabilities, labels = made_up(n_models, signal=signal, n=60, seed=seed)
        chosen = choose(probabilities, labels, n_steps=None)
        best_alone = min(loss(model, labels) for model in probabilities)
        assert 1 <= len(chosen) <= N_AUTO_STEPS
        assert loss(probabilities[chosen].mean(axis=0), labels) <= best_alone + 1e-6

    check()


def test_choice_takes_the_model_that_helps_most_and_weights_it_by_how_often() -> None:
    labels = np.array([0, 1] * 50)
    right, wrong = np.where(labels == 1, 0.9, 0.1), np.where(labels == 1, 0.2, 0.8)
    positive = np.stack([right, wrong])
    chosen = choose(np.stack([1 - positive, positive], axis=2), labels, n_steps=4)
    assert chosen == [0, 0, 0, 0]


def test_models_with_errors_in_different_texts_are_combined() -> None:
    labels = np.array([0, 1] * 50)
    good, bad = np.where(labels == 1, 0.95, 0.05), np.full(100, 0.4)
    first_half = np.arange(100) < 50
    positive = np.stack([np.where(first_half, good, bad), np.where(first_half, bad, good)])
    probabilities = np.stack([1 - positive, positive], axis=2)
    ensemble = choose_ensemble(
        [Repeat(7, 1, probabilities[0]), Repeat(3, 2, probabilities[1])],
        TWO,
        labels,
        best_trial=7,
        n_steps=2,
        seed=0,
    )
    assert {(m.trial, m.seed, m.weight) for m in ensemble.members} == {(7, 1, 0.5), (3, 2, 0.5)}
    # Alone, a model is wrong for the positive texts of one half.
    assert ensemble.difference.value == pytest.approx(0.25)
    assert ensemble.difference.low > 0


def test_weights_sum_to_one_and_the_largest_is_first() -> None:
    probabilities, labels = made_up(8, signal=0.7)
    repeats = [Repeat(number, 1, model) for number, model in enumerate(probabilities)]
    ensemble = choose_ensemble(repeats, TWO, labels, best_trial=0, n_steps=7, seed=0)
    weights = [member.weight for member in ensemble.members]
    assert sum(weights) == pytest.approx(1)
    assert weights == sorted(weights, reverse=True)


def test_cross_fitting_shows_no_gain_where_there_is_none() -> None:
    """On the texts that they were chosen on, the members of an ensemble of random models seem to be
    right; on the other texts they are not.
    """
    gains, seeming = [], []
    for seed in range(20):
        probabilities, labels = made_up(60, signal=0.0, seed=seed)
        chosen = choose(probabilities, labels, n_steps=10)
        held_out = cross_fitted(probabilities, labels, n_steps=10, seed=seed)
        seeming.append(score(labels, probabilities[chosen].mean(axis=0))["accuracy"] - 0.5)
        gains.append(score(labels, held_out)["accuracy"] - 0.5)
    assert np.mean(seeming) > 0.04
    assert abs(np.mean(gains)) < 0.02


def test_best_configuration_counts_with_the_mean_of_its_repeats() -> None:
    labels = np.array([0, 1] * 50)
    always_right = np.eye(2)[labels]
    always_one = np.tile([0.4, 0.6], (100, 1))
    repeats = [Repeat(1, 1, always_right), Repeat(1, 2, always_one)]
    ensemble = choose_ensemble(repeats, TWO, labels, best_trial=1, n_steps=2, seed=0)
    # The ensemble is right for all texts, the mean repeat for 75 % of them.
    assert ensemble.difference.value == pytest.approx(0.25)


def test_more_than_two_classes() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    noisy = [np.eye(3)[labels] + rng.random((300, 3)) for _ in range(4)]
    repeats = [Repeat(n, 1, p / p.sum(axis=1, keepdims=True)) for n, p in enumerate(noisy)]
    ensemble = choose_ensemble(repeats, TWO, labels, best_trial=0, n_steps=None, seed=0)
    assert len(ensemble.members) > 1


def test_copies_of_a_text_are_in_the_same_half() -> None:
    """A model that knows texts by heart would otherwise be measured on what it was chosen on."""
    probabilities, labels = made_up(4, signal=0.5, n=60)
    codes = np.repeat(np.arange(60), 3)
    once = cross_fitted(probabilities, labels, n_steps=3, seed=0)
    copied = cross_fitted(probabilities[:, codes], labels[codes], n_steps=3, seed=0, codes=codes)
    np.testing.assert_allclose(copied, once[codes])


def test_outputs_of_several_sigmoids_are_no_likelihoods() -> None:
    """A model whose outputs are all near 1 is not sure of anything."""
    probabilities, labels = made_up(1, signal=1.0)
    sure = np.full_like(probabilities[0], 0.98)
    ensemble = choose_ensemble(
        [Repeat(1, 1, probabilities[0]), Repeat(2, 1, sure)],
        TWO,
        labels,
        best_trial=1,
        n_steps=None,
        seed=0,
    )
    assert [member.trial for member in ensemble.members] == [1]


def words(kind: str, *, vocab_size: int, length: int, truncating: str) -> Make:
    def make() -> tuple[keras.Model, Values]:
        values: Values = {
            "vocab_size": vocab_size,
            "sequence_length": length,
            "truncating": truncating,
        }
        return build(kind, 0.0, 2), values

    return make


def sigmoids() -> tuple[keras.Model, Values]:
    """Return a model of two classes whose outputs do not sum to 1."""
    layers = [
        keras.Input((LENGTH,), dtype="int32"),
        keras.layers.Embedding(ROWS, 4),
        keras.layers.GlobalMaxPooling1D(),
        keras.layers.Dense(2, activation="sigmoid"),
    ]
    return spread(keras.Sequential(layers)), {"vocab_size": ROWS, "sequence_length": LENGTH}


def shaped(*shape: int, activation: str) -> Make:
    """Return a function that makes a model whose output has this shape for each text."""

    def make() -> tuple[keras.Model, Values]:
        layers = [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(ROWS, 4),
            keras.layers.GlobalMaxPooling1D(),
            keras.layers.Dense(math.prod(shape), activation=activation),
            keras.layers.Reshape(shape),
        ]
        return spread(keras.Sequential(layers)), {"vocab_size": ROWS, "sequence_length": LENGTH}

    return make


def ngrams(kind: str, *, order: int, rows: int) -> Make:
    def make() -> tuple[keras.Model, Values]:
        words: Values = {"vocab_size": ROWS, "sequence_length": LENGTH} if "words" in kind else {}
        return spread(NGRAM_MODELS[kind]()), {**words, "ngrams": order, "ngram_vocab_size": rows}

    return make


MEMBERS: dict[str, list[Make]] = {
    "one length": [
        words("masked", vocab_size=40, length=LENGTH, truncating="pre"),
        words("baseline", vocab_size=ROWS, length=LENGTH, truncating="pre"),
    ],
    "ends of a text": [
        words("masked", vocab_size=ROWS, length=5, truncating="pre"),
        words("baseline", vocab_size=25, length=LENGTH, truncating="post"),
        words("bidirectional", vocab_size=ROWS, length=7, truncating="middle"),
    ],
    "several sigmoids": [
        words("masked", vocab_size=40, length=LENGTH, truncating="pre"),
        sigmoids,
    ],
    "shapes of an output": [
        shaped(1, 2, activation="softmax"),
        shaped(2, 1, activation="sigmoid"),
        shaped(1, 1, activation="sigmoid"),
        shaped(activation="sigmoid"),
    ],
    "middles": [
        words("masked", vocab_size=ROWS, length=5, truncating="middle"),
        words("baseline", vocab_size=ROWS, length=LENGTH, truncating="middle"),
    ],
    "orders of n-grams": [
        ngrams("log-count ratios", order=1, rows=30),
        ngrams("maximum", order=2, rows=120),
        ngrams("log-count ratios", order=3, rows=50),
    ],
    "words beside n-grams": [
        ngrams("log-count ratios", order=2, rows=80),
        words("masked", vocab_size=40, length=6, truncating="pre"),
        ngrams("n-grams and words", order=1, rows=ROWS),
    ],
}


def members_of(kinds: list[Make]) -> tuple[list[WeightedModel], list[Values]]:
    n = len(kinds)
    weights = [2 * (n - number) / (n * (n + 1)) for number in range(n)]
    models, configurations = [], []
    for number, (make, weight) in enumerate(zip(kinds, weights, strict=True)):
        keras.backend.clear_session()  # The names of layers are the same, as after a retraining.
        model, values = make()
        models.append(WeightedModel(model, model_input(model, values), weight, f"member_{number}"))
        configurations.append(values)
    return models, configurations


def expected_of(models: list[WeightedModel], values: list[Values], reviews: Reviews) -> Any:
    """Return the weighted mean of the members' probabilities, each with its own view."""
    total = 0.0
    for item, own in zip(models, values, strict=True):
        source = Source.of(item.model, item.inputs, reviews.corpus)
        outputs = pipeline_probabilities(source, own, reviews.texts)
        total += item.weight * outputs / outputs.sum(axis=1, keepdims=True)
    return total


@pytest.mark.parametrize("kind", MEMBERS)
def test_ensemble_gives_the_mean_of_its_members(kind: str, reviews: Reviews) -> None:
    models, values = members_of(MEMBERS[kind])
    common = common_input([item.inputs for item in models], reviews.corpus)
    model = average(models, common, reviews.corpus)
    source = Source.of(model, common, reviews.corpus)
    probabilities = pipeline_probabilities(source, values_of_input(common), reviews.texts)
    np.testing.assert_allclose(probabilities, expected_of(models, values, reviews), atol=1e-6)
    assert len(np.unique(probabilities[:, 1].round(6))) > 20
    assert model_input(model, values_of_input(common)) == common


def test_ensemble_of_more_than_two_classes(
    reviews: Reviews, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [
        spread(bidirectional(n_classes=5)),
        build("masked", 0.0, 5),
    ]
    values: Values = {"vocab_size": ROWS, "sequence_length": LENGTH}
    members = [
        WeightedModel(model, model_input(model, values), 0.5, f"member_{number}")
        for number, model in enumerate(models)
    ]
    card = replace(reviews.corpus.card, class_names=[*"abcde"])
    monkeypatch.setattr(type(reviews.corpus), "card", card)
    common = common_input([item.inputs for item in members], reviews.corpus)
    model = average(members, common, reviews.corpus)
    ids = np.random.default_rng(0).integers(0, ROWS, (6, LENGTH)).astype(np.int32)
    expected = np.mean([member.predict_on_batch(ids) for member in models], axis=0)
    np.testing.assert_allclose(model.predict_on_batch(ids), expected, atol=1e-6)


def test_common_input_contains_every_input(reviews: Reviews) -> None:
    """For any two inputs, an id of the smaller vocabulary is an id of the common vocabulary."""
    orders = reviews.corpus.ngram_orders
    for first, second in itertools.product([1, 2, 3], repeat=2):
        inputs = [
            replace(INPUT, ngrams=first, ngram_vocab_size=20),
            replace(INPUT, ngrams=second, ngram_vocab_size=50),
        ]
        common = common_input(inputs, reviews.corpus)
        all_ngrams = set(
            reviews.corpus.ngrams(order=common.ngrams, vocab_size=common.ngram_vocab_size)
        )
        for item in inputs:
            own = reviews.corpus.ngrams(order=item.ngrams, vocab_size=item.ngram_vocab_size)
            assert set(own) <= all_ngrams
        assert common.ngram_vocab_size <= len(orders)


def test_logits_beside_probabilities_give_the_mean_of_the_probabilities(reviews: Reviews) -> None:
    models, values = members_of(MEMBERS["one length"])
    first = models[0].model
    logits = spread(keras.Model(first.inputs, keras.layers.Dense(2)(first.layers[-2].output)))
    models[0] = replace(models[0], model=logits, to_probabilities=keras.layers.Softmax())
    common = common_input([item.inputs for item in models], reviews.corpus)
    model = average(models, common, reviews.corpus)
    outputs = [
        pipeline_probabilities(
            Source.of(item.model, item.inputs, reviews.corpus, item.to_probabilities),
            own,
            reviews.texts,
        )
        for item, own in zip(models, values, strict=True)
    ]
    source = Source.of(model, common, reviews.corpus)
    probabilities = pipeline_probabilities(source, values_of_input(common), reviews.texts)
    first_weight, second_weight = (item.weight for item in models)
    expected = first_weight * outputs[0] + second_weight * outputs[1]
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_of_members_leaves_the_mean_exact(policy: str, reviews: Reviews) -> None:
    """The policy that the last member has set applies to all layers that are made after it."""

    def mixed() -> tuple[keras.Model, Values]:
        keras.config.set_dtype_policy(policy)
        return ngrams("maximum", order=2, rows=ROWS)()

    try:
        models, values = members_of([ngrams("maximum", order=3, rows=ROWS), mixed])
        common = common_input([item.inputs for item in models], reviews.corpus)
        model = average(models, common, reviews.corpus)
    finally:
        keras.config.set_dtype_policy("float32")
    source = Source.of(model, common, reviews.corpus)
    probabilities = pipeline_probabilities(source, values_of_input(common), reviews.texts)
    np.testing.assert_allclose(probabilities, expected_of(models, values, reviews), atol=1e-6)
    assert model.output.dtype == "float32"


INPUT = model_input(
    keras.Sequential([keras.Input((LENGTH,), dtype="int32"), keras.layers.Embedding(ROWS, 2)]),
    {"vocab_size": ROWS, "sequence_length": LENGTH},
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["ends of a text", "several sigmoids", "shapes of an output", "words beside n-grams"]
)
def test_every_format_carries_an_ensemble(kind: str, reviews: Reviews, tmp_path: Path) -> None:
    models, values = members_of(MEMBERS[kind])
    common = common_input([item.inputs for item in models], reviews.corpus)
    written = write_formats(
        tmp_path,
        average(models, common, reviews.corpus),
        values_of_input(common),
        reviews.corpus,
        test_texts=reviews.splits.frames["test"]["text"].tolist(),
        test_labels=labels_of(reviews),
        expect=partial(mean_of_members, models, values, reviews.corpus),
    )
    assert set(written.forms) == {export_format.path for export_format in FORMATS.values()}, (
        written.left_out
    )


def test_members_that_are_joined_wrongly_fail_the_check(reviews: Reviews, tmp_path: Path) -> None:
    """The formats are compared with the mean of the members, each of which predicts alone."""
    models, values = members_of(MEMBERS["one length"])
    common = common_input([item.inputs for item in models], reviews.corpus)
    swapped = [replace(item, weight=1 - item.weight) for item in models]
    with pytest.raises(ExportError, match="differ"):
        write_formats(
            tmp_path,
            average(swapped, common, reviews.corpus),
            values_of_input(common),
            reviews.corpus,
            test_texts=reviews.splits.frames["test"]["text"].tolist(),
            test_labels=labels_of(reviews),
            expect=partial(mean_of_members, models, values, reviews.corpus),
        )


def confirm_study(setting: Setting, **size: Any) -> Confirmation:
    return confirm(
        StudyHandle(setting.results, setting.folder, setting.results.storage_url(None)),
        size=ConfirmationSize(**{"top": 2, "n_seeds": 2, "share": 20.0, "n_pruned": 0, **size}),
        hooks=ConfirmHooks(),
    )


@pytest.fixture(scope="module")
def confirmed_once(
    finished: tuple[ResultsDir, Outcome], tmp_path_factory: pytest.TempPathFactory
) -> ResultsDir:
    """Return the study "s" after a confirmation, which tests must not change."""
    setting = copy_study(finished[0], tmp_path_factory.mktemp("confirmed"))
    confirm_study(setting)
    return setting.results


@pytest.fixture
def confirmed(confirmed_once: ResultsDir, tmp_path: Path) -> tuple[Setting, Confirmation]:
    """Return a copy of the confirmed study that a test may change, and its confirmation."""
    setting = copy_study(confirmed_once, tmp_path)
    confirmation = Confirmation.load(setting.folder)
    assert confirmation is not None
    return setting, confirmation


def export(setting: Setting, ensemble: str, *, number: int | None = None, **options: Any) -> Any:
    return export_best(
        StudyHandle(setting.results, setting.folder, setting.results.storage_url(None)),
        number=number,
        ensemble=ensemble,
        **options,
    )


def choose_repeats(
    monkeypatch: pytest.MonkeyPatch, confirmation: Confirmation
) -> list[tuple[int, int]]:
    """Make the first repeat of each finalist a member of every ensemble; return the members."""
    repeats = [(finalist.trial, min(finalist.repeats)) for finalist in confirmation.finalists]
    members = tuple(Member(trial, seed, 1 / len(repeats)) for trial, seed in repeats)
    chosen = Ensemble(members, Interval(0.02, 0.01, 0.03))
    monkeypatch.setattr(
        "tuning.export.ensemble.choose_ensemble", lambda *arguments, **options: chosen
    )
    return repeats


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_ensemble_of_a_confirmed_study_is_exported_and_described(
    confirmed: tuple[Setting, Confirmation], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, confirmation = confirmed
    choose_repeats(monkeypatch, confirmation)
    manifest = export(copied, "4")
    assert manifest.ensemble is not None
    members = manifest.ensemble.members
    assert len(members) > 1
    assert sum(member.weight for member in members) == pytest.approx(1)
    known = {(f.trial, seed) for f in confirmation.finalists for seed in f.repeats}
    assert {(member.trial, member.seed) for member in members} <= known
    assert list(manifest.scores)[:2] == ["best", SINGLE]
    assert SINGLE in manifest.comparisons
    assert len(manifest.test_looks) == 1
    size, alone = manifest.ensemble.size, manifest.ensemble.size_of_best
    assert size.n_parameters > alone.n_parameters
    assert manifest.scores["best"].epochs == sum(member.epochs for member in members)
    assert all(
        member.epochs == next(f.epochs for f in confirmation.finalists if f.trial == member.trial)
        for member in members
    )
    # The folder predicts without the study, and the pages name the members.
    assert full_manifest(copied.folder.best_dir) == manifest
    assert len(list(classify(copied.folder.best_dir, ["great lovely", "bad"]))) == 2
    card = (copied.folder.best_dir / "README.md").read_text()
    write_report(StudyHandle(copied.results, copied.folder, copied.results.storage_url(None)))
    page = copied.folder.report_path.read_text()
    for member in members:
        assert f"trial {member.trial} with seed {member.seed}" in card
        described = f"weight {member.weight:.2f}, {member.epochs} epochs:"
        configuration = "".join(card.split()).partition("".join(described.split()))[2]
        for name, value in member.hyperparameters.items():
            assert f"`{name}`{value_text(value)}" in configuration
        assert f"trial {member.trial} with seed {member.seed}" in page
    name = f"ensemble of {len(members)} models"
    assert f"se the exported {name}" in page  # "Use" or "Do not use"
    assert f"The exported {name} on the {manifest.n_rows['test']} texts of the test split" in page


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_kept_predictions_give_the_values_of_the_confirmation(
    confirmed: tuple[Setting, Confirmation],
) -> None:
    """The accuracy of the predictions is the repeat's value."""
    copied, confirmation = confirmed
    corpus, _ = prepare_corpus(copied.config, results=copied.results)
    labels = corpus.split("validation").labels
    n_kept = 0
    for finalist in confirmation.finalists:
        for seed, value in finalist.repeats.items():
            probabilities = read_probabilities(copied.folder.repeat_path(finalist.trial, seed))
            assert probabilities is not None
            assert np.mean(probabilities.argmax(axis=1) == labels) == pytest.approx(value)
            n_kept += 1
    assert n_kept >= 4


@pytest.mark.parametrize("size", ["1", "0", "21", "-2", "two", "1.5", "", "²"])
def test_size_of_an_ensemble_that_is_none_is_refused(size: str, copied: Setting) -> None:
    with pytest.raises(ArgumentError, match="auto or a whole number from 2 to 20"):
        export(copied, size)


def test_trial_beside_an_ensemble_is_refused(copied: Setting) -> None:
    with pytest.raises(ArgumentError, match="must not be given together"):
        export(copied, "auto", number=0)


def test_ensemble_without_a_confirmation_is_refused(copied: Setting) -> None:
    with pytest.raises(StudyError, match="make confirm STUDY=s"):
        export(copied, "auto")


@pytest.mark.slow
def test_ensemble_of_repeats_whose_predictions_were_removed_is_refused(
    confirmed: tuple[Setting, Confirmation],
) -> None:
    copied, _ = confirmed
    for path in (copied.folder.path / "repeats").glob("*.npz"):
        path.unlink()
    with pytest.raises(StudyError, match=r"those of 0 repeats.*make confirm SEEDS=3"):
        export(copied, "auto")


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_repeats_with_other_classes_are_left_out_with_a_sentence(
    confirmed: tuple[Setting, Confirmation], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, confirmation = confirmed
    worst = min(confirmation.finalists, key=lambda f: np.mean(f.repeat_values))
    other = copied.folder.repeat_path(worst.trial, min(worst.repeats))

    def read(path: Path) -> Any:
        probabilities = read_probabilities(path)
        assert probabilities is not None
        return np.pad(probabilities, ((0, 0), (0, 1))) if path == other else probabilities

    monkeypatch.setattr("tuning.export.ensemble.read_probabilities", read)
    warnings: list[str] = []
    export(copied, "4", warn=warnings.append)
    assert any(text.startswith("The ensemble leaves out 1 of ") for text in warnings)


@pytest.mark.parametrize("best", [1, 3])
def test_repeats_that_read_other_tokens_are_left_out_with_a_sentence(
    best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trial 3 takes n-grams alone, which join the tokens of the first finalist."""
    tokens: Values = {"preset": "p", "sequence_length": 64, "truncating": "middle"}
    values: dict[int, Values] = {
        0: {**tokens, "sequence_length": 32},
        1: tokens,
        2: {**tokens, "has_ngrams": True, "ngrams": 2},
        3: {"ngrams": 2, "ngram_vocab_size": 50},
    }
    confirmation = with_repeats({trial: [0.5, 0.6] for trial in (1, 2, 3, 0)})
    finalists = [replace(f, values=values[f.trial]) for f in confirmation.finalists]
    labels = np.arange(40) % 2
    noise = np.random.default_rng(0).uniform(0.1, 0.9, (4, 2, 40))

    def read(path: Path) -> Any:
        trial, seed = (int(part) for part in path.stem.split("-"))
        right = noise[trial, seed - 1]
        return np.where(labels[:, None] == [[0, 1]], right[:, None], 1 - right[:, None])

    monkeypatch.setattr("tuning.export.ensemble.read_probabilities", read)
    chosen = SimpleNamespace(
        folder=SimpleNamespace(name="s", repeat_path=lambda trial, seed: Path(f"{trial}-{seed}")),
        trial=SimpleNamespace(number=best),
        config=SimpleNamespace(seed=0),
        required_confirmation=lambda: replace(confirmation, finalists=finalists),
    )
    corpus = SimpleNamespace(
        split=lambda name: SimpleNamespace(labels=labels),
        target=TWO,
    )
    frame = pd.DataFrame({"text": [str(n) for n in range(40)]})
    texts = SimpleNamespace(frames={"validation": frame})
    warnings: list[str] = []
    ensemble = choose_members(
        *(cast("Any", item) for item in (chosen, corpus, texts)), size="8", warn=warnings.append
    )
    assert ensemble is not None
    assert {member.trial for member in ensemble.members} <= {1, 2, 3}
    assert warnings[0].startswith("The ensemble leaves out 2 of 8 repeats, which read other tokens")


@pytest.mark.slow
def test_confirmation_goes_on_if_no_predictions_can_be_kept(copied: Setting) -> None:
    (copied.folder.path / "repeats").write_text("a file in the place of the folder")
    confirmation = confirm_study(copied)
    assert all(len(finalist.repeat_values) == 2 for finalist in confirmation.finalists[:2])
    assert not any(finalist.failures for finalist in confirmation.finalists)
    with pytest.raises(StudyError, match="kept those of 0 repeats"):
        export(copied, "auto")


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_ensemble_of_equal_models_is_the_confirmed_best_alone(
    confirmed: tuple[Setting, Confirmation],
) -> None:
    copied, confirmation = confirmed
    first, *others = sorted((copied.folder.path / "repeats").glob("*.npz"))
    for path in others:
        shutil.copy(first, path)
    warnings: list[str] = []
    manifest = export(copied, "auto", warn=warnings.append)
    assert confirmation.is_over
    assert manifest.ensemble is None
    assert set(manifest.scores) == {"best", "baseline"}
    assert len(warnings) == 1 and "alone" in warnings[0]
