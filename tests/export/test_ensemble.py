"""Ensembles: the choice of their members, on made-up probabilities; and their model, whose output
is the mean of the outputs of its members, each with its own vocabulary, length and n-grams.
"""

import math
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.confirmations import with_repeats
from tests.export.models import (
    LENGTH,
    NGRAM_MODELS,
    ROWS,
    Reviews,
    build,
    embedding,
    spread,
    stacked,
    write_formats,
)
from tests.numbered import TWO, score
from tests.stored_documents import full_manifest
from tests.studies import Setting
from tuning.api.exports import load_export
from tuning.config import TrainConfig
from tuning.confirmation.record import Confirmation
from tuning.data import rows as data_rows
from tuning.errors import ArgumentError, ExportError, StudyError
from tuning.evaluation.predictions import read_probabilities
from tuning.evaluation.statistics import Interval
from tuning.evaluation.test_split import SINGLE
from tuning.export.ensemble import (
    N_AUTO_STEPS,
    Ensemble,
    Member,
    Repeat,
    average,
    choose,
    choose_ensemble,
    choose_members,
    common_input,
    cross_fitted,
    mean_of_members,
    require_probabilities,
)
from tuning.export.export import ExportChoice, export_best
from tuning.export.formats import pipeline_probabilities
from tuning.export.manifest import FullManifest
from tuning.export.writers import Source
from tuning.inference.runtimes import FORMATS
from tuning.inputs.contract import ModelInput
from tuning.report.page import write_report
from tuning.search.confirm import ConfirmationSize, confirm
from tuning.spaces.ranges import Values
from tuning.study.handle import StudyHandle
from tuning.study.prepare import prepare_corpus
from tuning.targets.labels import MultiLabel
from tuning.targets.number import Number
from tuning.targets.target import Array, Labels, Target

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


@settings(max_examples=25)
@given(st.integers(1, 6), st.floats(0, 2), st.integers(0, 99))
def test_choice_of_any_size_is_no_worse_than_the_best_model_alone(
    n_models: int, signal: float, seed: int
) -> None:
    probabilities, labels = made_up(n_models, signal=signal, n=60, seed=seed)
    chosen = choose(probabilities, labels, n_steps=None)
    best_alone = min(loss(model, labels) for model in probabilities)
    assert 1 <= len(chosen) <= N_AUTO_STEPS
    assert loss(probabilities[chosen].mean(axis=0), labels) <= best_alone + 1e-6


def test_choice_takes_the_model_that_helps_most_and_weights_it_by_how_often() -> None:
    labels = np.array([0, 1] * 50)
    right, wrong = np.where(labels == 1, 0.9, 0.1), np.where(labels == 1, 0.2, 0.8)
    positive = np.stack([right, wrong])
    chosen = choose(np.stack([1 - positive, positive], axis=2), labels, n_steps=4)
    assert chosen == [0, 0, 0, 0]


def chosen_from(
    models: Sequence[Array],
    labels: Labels,
    *,
    trials: Sequence[int] | None = None,
    n_steps: int | None = 2,
    target: Target = TWO,
) -> Ensemble:
    """Choose from models of distinct texts, of which the first is a repeat of the best trial."""
    trials = range(len(models)) if trials is None else trials
    repeats = [Repeat(t, n, model) for n, (t, model) in enumerate(zip(trials, models, strict=True))]
    rows = data_rows.Rows(np.arange(len(labels)), strata=labels)
    return choose_ensemble(
        repeats, target, labels, best_trial=trials[0], n_steps=n_steps, seed=0, rows=rows
    )


def weights_of(ensemble: Ensemble) -> dict[int, float]:
    return {member.trial: member.weight for member in ensemble.members}


def test_models_with_errors_in_different_texts_are_combined() -> None:
    labels = np.array([0, 1] * 50)
    good, bad = np.where(labels == 1, 0.95, 0.05), np.full(100, 0.4)
    first_half = np.arange(100) < 50
    positive = np.stack([np.where(first_half, good, bad), np.where(first_half, bad, good)])
    ensemble = chosen_from(np.stack([1 - positive, positive], axis=2), labels, trials=[7, 3])
    assert weights_of(ensemble) == {7: 0.5, 3: 0.5}
    many, _ = made_up(8, signal=0.7, n=100)
    weights = [*weights_of(chosen_from(many, labels, n_steps=7)).values()]
    assert sum(weights) == pytest.approx(1) and weights == sorted(weights, reverse=True)
    # Alone, a model is wrong for the positive texts of one half.
    assert ensemble.difference.value == pytest.approx(0.25)
    assert ensemble.difference.low > 0


def test_models_of_different_labels_are_combined() -> None:
    """Each model knows one of two labels. Their probabilities do not sum to 1."""
    labels = np.array([[0, 1], [1, 1], [1, 0], [0, 0]] * 25)
    known = np.where(labels == 1, 0.95, 0.05)
    models = [np.where(np.arange(2) == n, known, 0.45) for n in range(2)]
    ensemble = chosen_from(models, labels, target=MultiLabel(("a", "b")))
    assert weights_of(ensemble) == {0: 0.5, 1: 0.5}
    assert ensemble.difference.value == pytest.approx(0.5)  # Alone, half of the texts are right.


def test_cross_fitting_shows_no_gain_where_there_is_none() -> None:
    """On the texts that they were chosen on, the members of an ensemble of random models seem to be
    right; on the other texts they are not.
    """
    gains, seeming, codes = [], [], np.arange(400)
    for seed in range(20):
        probabilities, labels = made_up(60, signal=0.0, seed=seed)
        chosen = choose(probabilities, labels, n_steps=10)
        held_out = cross_fitted(probabilities, labels, n_steps=10, seed=seed, codes=codes)
        seeming.append(score(labels, probabilities[chosen].mean(axis=0))["accuracy"] - 0.5)
        gains.append(score(labels, held_out)["accuracy"] - 0.5)
    assert np.mean(seeming) > 0.04
    assert abs(np.mean(gains)) < 0.02


def test_best_configuration_counts_with_the_mean_of_its_repeats() -> None:
    labels = np.array([0, 1] * 50)
    always_right = np.eye(2)[labels]
    always_one = np.tile([0.4, 0.6], (100, 1))
    ensemble = chosen_from([always_right, always_one], labels, trials=[1, 1])
    # The ensemble is right for all texts, the mean repeat for 75 % of them.
    assert ensemble.difference.value == pytest.approx(0.25)


def test_copies_of_a_text_are_in_the_same_half() -> None:
    """A model that knows texts by heart would otherwise be measured on what it was chosen on."""
    probabilities, labels = made_up(4, signal=0.5, n=60)
    codes = np.repeat(np.arange(60), 3)
    once = cross_fitted(probabilities, labels, n_steps=3, seed=0, codes=np.arange(60))
    copied = cross_fitted(probabilities[:, codes], labels[codes], n_steps=3, seed=0, codes=codes)
    np.testing.assert_allclose(copied, once[codes])


def test_outputs_of_several_sigmoids_are_no_likelihoods() -> None:
    """A model whose outputs are all near 1 is not sure of anything."""
    probabilities, labels = made_up(1, signal=1.0)
    sure = np.full_like(probabilities[0], 0.98)
    ensemble = chosen_from([probabilities[0], sure], labels, n_steps=None)
    assert weights_of(ensemble) == {0: 1.0}


def words(kind: str, *, vocab_size: int, length: int, truncating: str) -> Make:
    sizes: Values = {"vocab_size": vocab_size, "sequence_length": length}
    return lambda: (build(kind, 0.0, 2), {**sizes, "truncating": truncating})


def shaped(*shape: int, activation: str) -> Make:
    """Return a function that makes a model whose output has this shape for each text. Several
    sigmoids do not sum to 1.
    """
    layers = keras.layers

    def make() -> tuple[keras.Model, Values]:
        head = layers.Dense(math.prod(shape), activation=activation), layers.Reshape(shape)
        model = stacked(embedding(masked=False), layers.GlobalMaxPooling1D(), *head)
        return spread(model), {"vocab_size": ROWS, "sequence_length": LENGTH}

    return make


def ngrams(kind: str, *, order: int, rows: int) -> Make:
    sizes: Values = {"vocab_size": ROWS, "sequence_length": LENGTH} if "words" in kind else {}
    values = {**sizes, "ngrams": order, "ngram_vocab_size": rows}
    return lambda: (spread(NGRAM_MODELS[kind]()), values)


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
        shaped(2, activation="sigmoid"),
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


@dataclass
class Members:
    """Models of an ensemble and their weights."""

    sources: list[Source]
    weights: list[float]

    @classmethod
    def of(cls, kinds: list[Make], reviews: Reviews) -> Self:
        n, sources = len(kinds), []
        for make in kinds:
            keras.backend.clear_session()  # Layers have the same names, as after a retraining.
            sources.append(Source(*make(), reviews.corpus, reviews.corpus.target))
        return cls(sources, [2 * (n - number) / (n * (n + 1)) for number in range(n)])

    def mean(self, texts: list[str]) -> Array:
        return mean_of_members(self.sources, self.weights, texts)

    def joined(self) -> Source:
        source = average(self.sources, self.weights)
        common = common_input([member.inputs for member in self.sources], source.corpus)
        assert source.inputs == common
        return source


@pytest.mark.parametrize("kind", MEMBERS)
def test_ensemble_gives_the_mean_of_its_members(kind: str, reviews: Reviews) -> None:
    members = Members.of(MEMBERS[kind], reviews)
    probabilities = pipeline_probabilities(members.joined(), reviews.texts)
    np.testing.assert_allclose(probabilities, members.mean(reviews.texts), atol=1e-6)
    assert len(np.unique(probabilities[:, 1].round(6))) > 20


def test_further_value_of_an_input_is_carried(reviews: Reviews) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Counting(ModelInput):
        n_counts: int = 0

    words = Counting(vocab_size=30, sequence_length=5, truncating="pre", n_counts=1)
    longer = Counting(vocab_size=20, sequence_length=8, truncating="post")
    expected = replace(words, sequence_length=16, truncating="middle")
    assert common_input([words, longer], reviews.corpus) == expected


def test_logits_beside_probabilities_give_the_mean_of_the_probabilities(reviews: Reviews) -> None:
    members = Members.of(MEMBERS["one length"], reviews)
    first = members.sources[0].model
    logits = spread(keras.Model(first.inputs, keras.layers.Dense(2)(first.layers[-2].output)))
    softmax = keras.layers.Softmax()
    members.sources[0] = replace(members.sources[0], model=logits, to_probabilities=softmax)
    probabilities = pipeline_probabilities(members.joined(), reviews.texts)
    np.testing.assert_allclose(probabilities, members.mean(reviews.texts), atol=1e-6)


def test_mixed_precision_of_members_leaves_the_mean_exact(reviews: Reviews) -> None:
    """The policy that the last member has set applies to all layers that are made after it."""

    def mixed() -> tuple[keras.Model, Values]:
        keras.config.set_dtype_policy("mixed_bfloat16")
        return ngrams("maximum", order=2, rows=ROWS)()

    try:
        members = Members.of([ngrams("maximum", order=3, rows=ROWS), mixed], reviews)
        joined = members.joined()
    finally:
        keras.config.set_dtype_policy("float32")
    probabilities = pipeline_probabilities(joined, reviews.texts)
    np.testing.assert_allclose(probabilities, members.mean(reviews.texts), atol=1e-6)
    assert joined.model.output.dtype == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["shapes of an output", "words beside n-grams"])
def test_every_format_carries_an_ensemble(kind: str, reviews: Reviews, tmp_path: Path) -> None:
    members = Members.of(MEMBERS[kind], reviews)
    written = write_formats(tmp_path, members.joined(), reviews, expect=members.mean)
    assert {*written.forms} == {known.path for known in FORMATS.values()}, written.left_out


def test_members_that_are_joined_wrongly_fail_the_check(reviews: Reviews, tmp_path: Path) -> None:
    members = Members.of(MEMBERS["one length"], reviews)
    swapped = replace(members, weights=members.weights[::-1])
    with pytest.raises(ExportError, match="differ"):
        write_formats(tmp_path, swapped.joined(), reviews, expect=members.mean)


def confirm_study(setting: Setting) -> Confirmation:
    return confirm(
        StudyHandle.of(setting.results, "s"),
        size=ConfirmationSize(top=2, n_seeds=2, resplit=False),
    )[0]


def export(setting: Setting, ensemble: str) -> FullManifest:
    return export_best(StudyHandle.of(setting.results, "s"), ExportChoice(ensemble=ensemble))


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_alone")
def test_ensemble_of_a_confirmed_study_is_exported_and_described(
    copied: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first repeat of each finalist is a member."""
    confirmation = confirm_study(copied)
    firsts = [(finalist.trial, min(finalist.repeats)) for finalist in confirmation.finalists]
    chosen = Ensemble(
        tuple(Member(trial, seed, 1 / len(firsts)) for trial, seed in firsts),
        Interval(0.02, 0.01, 0.03),
    )
    monkeypatch.setattr(
        "tuning.export.ensemble.choose_ensemble", lambda *arguments, **options: chosen
    )
    manifest = export(copied, "4")
    assert manifest.ensemble is not None
    members = manifest.ensemble.members
    assert [(member.trial, member.seed) for member in members] == firsts
    corpus, _ = prepare_corpus(copied.config, results=copied.results)
    labels = corpus.split("validation").labels
    repeats = {
        (f.trial, seed): value for f in confirmation.finalists for seed, value in f.repeats.items()
    }
    for (trial, seed), value in repeats.items():
        kept = read_probabilities(copied.folder.repeat_path(trial, seed))
        assert kept is not None
        assert np.mean(kept.argmax(axis=1) == labels) == pytest.approx(value)
    assert list(manifest.scores)[:2] == ["best", SINGLE]
    assert SINGLE in manifest.comparisons
    assert len(manifest.test_looks) == 1
    size, alone = manifest.ensemble.size, manifest.ensemble.size_of_best
    assert size.n_parameters > alone.n_parameters
    assert manifest.scores["best"].epochs == sum(member.epochs for member in members)
    assert [member.epochs for member in members] == [f.epochs for f in confirmation.finalists]
    # The folder predicts without the study, and the pages name the members.
    assert full_manifest(copied.folder.best_dir) == manifest
    assert len(load_export(copied.folder.best_dir).predict(["great lovely", "bad"])) == 2
    card = (copied.folder.best_dir / "README.md").read_text()
    write_report(StudyHandle.of(copied.results, "s"))
    page = copied.folder.report_path.read_text()
    for member in members:
        assert f"trial {member.trial} with seed {member.seed}" in card
        assert f"trial {member.trial} with seed {member.seed}" in page
        assert f"weight {member.weight:.2f}" in card
    assert f"exported ensemble of {len(members)} models" in page


@pytest.mark.parametrize("size", ["1", "21", "²"])
def test_size_of_an_ensemble_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(ArgumentError, match="from 2 to 20"):
        ExportChoice(ensemble=size)


@pytest.mark.parametrize("is_small", [False, True])
def test_ensemble_without_a_confirmation_names_the_command_that_confirms(
    is_small: bool, copied: Setting
) -> None:
    if is_small:  # A confirmation of two completed trials is refused.
        with sqlite3.connect(copied.results.database_path) as storage:
            storage.execute("UPDATE trials SET state = 'FAIL' WHERE number > 1")
    command = r"tune STUDY=s RESULTS=\S+ TRIALS=N` with" if is_small else r"confirm STUDY=s \S+`"
    with pytest.raises(StudyError, match=f"make {command}"):
        export(copied, "auto")


def test_ensemble_of_numbers_is_refused() -> None:
    with pytest.raises(StudyError, match=r"these models predict a number\. Leave ensemble out"):
        require_probabilities(Number())


TOKENS: Values = {"preset": "p", "sequence_length": 64, "truncating": "middle"}
READS: dict[int, Values] = {
    0: {**TOKENS, "sequence_length": 32},
    1: TOKENS,
    2: {**TOKENS, "has_ngrams": True, "ngrams": 2},
    3: {"ngrams": 2, "ngram_vocab_size": 50},
}
LABELS = np.arange(40) % 2


@dataclass
class Chosen:
    """The finalists 0 to 3 with two repeats each, and the sentences of a choice among them."""

    best: int
    values: dict[int, Values]
    probabilities: Callable[[int, int], Any]
    warnings: list[str] = field(default_factory=list)

    def choose(
        self, monkeypatch: pytest.MonkeyPatch, size: str, *, overlap: float = 0.0
    ) -> Ensemble | None:
        confirmation = with_repeats({trial: [0.5, 0.6] for trial in (1, 2, 3, 0)})
        finalists = [replace(f, values=self.values[f.trial]) for f in confirmation.finalists]
        monkeypatch.setattr(
            "tuning.evaluation.out_of_sample.read_probabilities",
            lambda path: self.probabilities(*map(int, path.stem.split("-"))),
        )
        folder = SimpleNamespace(repeat_path=lambda trial, seed, **_: Path(f"{trial}-{seed}"))
        chosen = SimpleNamespace(
            study=SimpleNamespace(name="s", folder=folder),
            trial=SimpleNamespace(number=self.best),
            config=SimpleNamespace(seed=0, train=TrainConfig()),
            confirmation=replace(confirmation, finalists=finalists, overlap=overlap),
        )
        corpus = SimpleNamespace(
            split=lambda name: SimpleNamespace(labels=LABELS),
            target=TWO,
            rows=data_rows.Rows(np.arange(80), strata=np.tile(LABELS, 2)),
        )
        arguments = (cast("Any", item) for item in (chosen, corpus))
        return choose_members(*arguments, size=size, warn=self.warnings.append)

    def members(self, monkeypatch: pytest.MonkeyPatch, size: str) -> set[int] | None:
        ensemble = self.choose(monkeypatch, size)
        return ensemble and {member.trial for member in ensemble.members}


def noisy(trial: int, seed: int) -> Any:
    right = np.random.default_rng(2 * trial + seed).uniform(0.1, 0.9, 40)
    return np.where(LABELS[:, None] == [[0, 1]], right[:, None], 1 - right[:, None])


OF_KERAS: Values = {"preset": "encoder.keras", "feature_length": 128}


@pytest.mark.parametrize(
    ("best", "values", "left_out", "members"),
    [
        # Trial 3 takes n-grams alone, which join the tokens of the first finalist.
        *((best, READS, "1 configuration", {1, 2, 3}) for best in (1, 3)),
        (3, {**READS, 1: OF_KERAS, 2: OF_KERAS}, "2 configurations", {0, 3}),
    ],
)
def test_configurations_of_other_tokens_are_left_out_with_a_sentence(
    best: int,
    values: dict[int, Values],
    left_out: str,
    members: set[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = Chosen(best, values, noisy)
    found = chosen.members(monkeypatch, "8")
    assert found and found <= members
    assert f"leaves out {left_out}: members must have" in chosen.warnings[0]


def test_repeats_on_fresh_splits_are_one_model_of_their_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rows of each seed are predicted by all configurations; a file of other rows is left
    out, with the seed.
    """

    def probabilities(trial: int, seed: int) -> Any:
        return noisy(trial, seed)[: 39 if (trial, seed) == (2, 1) else 40]

    chosen = Chosen(1, dict.fromkeys(READS, TOKENS), probabilities)
    ensemble = chosen.choose(monkeypatch, "8", overlap=1.0)
    assert ensemble and ensemble.held_out and len(ensemble.held_out.labels) == 40
    assert {member.seed for member in ensemble.members} == {2}
    trials = [member.trial for member in ensemble.members]
    assert len(trials) == len({*trials})


def test_ensemble_with_the_features_of_a_keras_model_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StudyError, match="the features of a Keras model"):
        Chosen(1, {**READS, 1: OF_KERAS}, noisy).members(monkeypatch, "8")


def test_ensemble_of_equal_models_is_the_confirmed_best_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = Chosen(1, dict.fromkeys(READS, TOKENS), lambda trial, seed: noisy(0, 0))
    assert chosen.members(monkeypatch, "auto") is None
    assert len(chosen.warnings) == 1 and "trial 1 alone" in chosen.warnings[0]


@pytest.mark.slow
def test_confirmation_goes_on_if_no_predictions_can_be_kept(copied: Setting) -> None:
    (copied.folder.path / "repeats").write_text("a file in the place of the folder")
    confirmation = confirm_study(copied)
    assert all(len(finalist.repeat_values) >= 2 for finalist in confirmation.finalists)
    assert not any(finalist.failures for finalist in confirmation.finalists)
    with pytest.raises(StudyError, match="kept those of 0 repeats"):
        export(copied, "auto")
