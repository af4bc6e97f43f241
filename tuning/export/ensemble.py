"""Ensembles: the choice of their members among a confirmation's repeats, their model, and their
description.

An ensemble is the weighted mean of the class probabilities of its members. The members are chosen
greedily, with replacement, by out-of-sample predictions (Caruana, Niculescu-Mizil, Crew and Ksikes,
ICML 2004): each step adds the repeat with which the mean has the lowest cross-entropy. A step does
not compare accuracies, because many repeats have the same accuracy, and the best accuracy of many
is partly luck. As a Keras model, an ensemble takes one input, of which each member takes its own
view.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from tuning.config import SPLITS, exceeded, is_keras_file
from tuning.confirmation.estimates import estimate
from tuning.confirmation.record import Finalist
from tuning.data import rows as data_rows
from tuning.errors import ArgumentError, StudyError
from tuning.evaluation.out_of_sample import RepeatPredictions, Rows, kept_predictions
from tuning.evaluation.scores import EnsembleFacts, EnsembleMember, ModelSize
from tuning.evaluation.statistics import Interval, accuracy_difference
from tuning.export.description import ChosenTrial
from tuning.export.formats import pipeline_probabilities
from tuning.export.retraining import Retraining, Trained
from tuning.export.writers import Source, values_of, with_encoder
from tuning.inputs.contract import Input, ModelInput
from tuning.inputs.corpus import Corpus
from tuning.inputs.features import TRUNCATING
from tuning.inputs.kinds import FEATURES, IDS, NGRAMS, TEXTS, TOKENS, kinds_in
from tuning.inputs.token_ids import without_excess
from tuning.inputs.tokenizer import FIRST_WORD_ID, UNKNOWN_ID
from tuning.spaces.ranges import Value
from tuning.study.handle import StudyHandle
from tuning.targets.target import Array, Labels, Target, likelihoods
from tuning.targets.thresholds import parts_of
from tuning.text import counted
from tuning.training import prediction

AUTO = "auto"
MIN_STEPS, MAX_STEPS = 2, 20
# Maximum number of steps of an ensemble whose size is not given. Caruana et al. found most of the
# gain in the first steps; each further member makes the model larger and slower.
N_AUTO_STEPS = 10


@dataclass(frozen=True)
class Repeat:
    """A model that may become a member: its out-of-sample predictions, (n_rows, n_classes), of the
    rows that all repeats of the choice predict. With fresh splits, the repeats of a configuration
    predict different rows: they are one `Repeat` then, with the first of their seeds.
    """

    trial: int
    seed: int
    probabilities: Array = field(repr=False)


@dataclass(frozen=True)
class Member:
    """A repeat of an ensemble and its weight; the weights of all members sum to 1."""

    trial: int
    seed: int
    weight: float


@dataclass(frozen=True)
class Ensemble:
    """The members, in descending order of their weights, and the cross-fitted difference: accuracy
    of the ensemble minus mean accuracy of the confirmed best's repeats, on the rows of the choice.
    `held_out` are the rows on which it was measured.
    """

    members: tuple[Member, ...]
    difference: Interval
    held_out: Rows | None = field(default=None, repr=False, compare=False)


def choose_ensemble(
    repeats: Sequence[Repeat],
    target: Target,
    labels: Labels,
    *,
    best_trial: int,
    n_steps: int | None,
    seed: int,
    rows: data_rows.Rows,
) -> Ensemble:
    """Choose the members of an ensemble, and estimate its gain over the best configuration.

    The estimate is cross-fitted: members are chosen on one half of the texts and measured on the
    other half, and the reverse, so no text is used for both. The comparison is paired by text, with
    the mean accuracy of the repeats of the best configuration.

    Args:
        labels: those of the rows that the repeats predict.
        n_steps: number of times that a repeat is chosen. None: the number up to `N_AUTO_STEPS` that
            gives the lowest cross-entropy.
        rows: the rows of the labels. The copies of a text are in the same half.
    """
    stacked = np.stack([repeat.probabilities for repeat in repeats]).astype(np.float64)
    codes, drawn = rows.texts, rows.observations
    if target.is_exclusive:
        stacked = _shares(stacked)  # As the exported ensemble does (`average`).
    chosen = choose(stacked, labels, n_steps=n_steps)
    held_out = cross_fitted(stacked, labels, n_steps=n_steps, seed=seed, codes=codes)
    of_best = stacked[[repeat.trial == best_trial for repeat in repeats]]
    members = tuple(
        Member(repeats[index].trial, repeats[index].seed, count / len(chosen))
        for index, count in Counter(chosen).most_common()
    )
    difference = accuracy_difference(target, labels, held_out, of_best, codes=drawn, seed=seed)
    return Ensemble(members, difference, Rows(labels, held_out, codes, drawn))


def choose(probabilities: Array, labels: Labels, *, n_steps: int | None) -> list[int]:
    """Return the indices of the models that the steps of the greedy selection choose from
    `probabilities`, (n_models, n_texts, n_classes); an index may occur several times.
    """
    # The cross-entropy depends on the probability of the right class alone.
    right = likelihoods(labels, probabilities).reshape(len(probabilities), -1)
    chosen: list[int] = []
    losses: list[float] = []
    total = np.zeros(right.shape[1])
    for step in range(1, (n_steps or N_AUTO_STEPS) + 1):
        means = np.clip((total + right) / step, 1e-7, 1.0)
        of_models = -np.log(means).mean(axis=1)
        index = int(of_models.argmin())
        chosen.append(index)
        losses.append(float(of_models[index]))
        total += right[index]
    return chosen if n_steps else chosen[: int(np.argmin(losses)) + 1]


def cross_fitted(
    probabilities: Array, labels: Labels, *, n_steps: int | None, seed: int, codes: Labels
) -> Array:
    """Return the probabilities of ensembles for texts that their members were not chosen on,
    (n_texts, n_classes).
    """
    mean = np.empty(probabilities.shape[1:])
    parts = parts_of(labels, codes, 2, seed=seed)
    for part in (1, 0):
        chosen_on, measured_on = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        chosen = choose(probabilities[:, chosen_on], labels[chosen_on], n_steps=n_steps)
        mean[measured_on] = probabilities[chosen][:, measured_on].mean(axis=0)
    return mean


def parse_size(text: str) -> int | None:
    """Return the number of steps in the value of `ensemble`; None for "auto"."""
    if text == AUTO:
        return None
    if text.isascii() and text.isdigit() and MIN_STEPS <= int(text) <= MAX_STEPS:
        return int(text)
    raise ArgumentError(
        f"ensemble must be auto or a whole number from {MIN_STEPS} to {MAX_STEPS}; received"
        f" {text!r}. An export without ensemble is a single model."
    )


def require_probabilities(target: Target) -> None:
    if not target.has_probabilities:
        raise StudyError(
            "An ensemble must be of models that give probabilities; these models predict a"
            f" {target.kind}. Leave ensemble out."
        )


def confirmed_trial(study: StudyHandle) -> int:
    estimates = estimate(study.confirmation)
    if estimates is None:
        raise StudyError(
            f"An ensemble must have repeats of a confirmation to choose from; {study.name!r} has"
            f" none. {study.confirm_remedy} first."
        )
    return estimates.best.trial


def choose_members(
    chosen: ChosenTrial,
    corpus: Corpus,
    *,
    size: str,
    warn: Callable[[str], None],
) -> Ensemble | None:
    """Choose the members of an ensemble from the repeats of a study's confirmation. None if a
    single repeat was chosen, or if the size is "auto" and the ensemble is not better than the
    confirmed best. `warn` gets a sentence then, and if repeats are left out.
    """
    require_probabilities(corpus.target)
    n_steps, number = parse_size(size), chosen.trial.number
    repeats, places = repeats_of(chosen, corpus, warn=warn)
    if not any(repeat.trial == number for repeat in repeats):
        raise StudyError(
            "An ensemble must have predictions of the confirmed best; the confirmation of"
            f" {chosen.study.name!r} has kept those of {len(repeats)} repeats, and none of trial"
            f" {number}. {chosen.study.confirm_remedy} to train further seeds and keep their"
            " predictions."
        )
    ensemble = choose_ensemble(
        repeats,
        corpus.target,
        np.concatenate([corpus.split(name).labels for name in SPLITS[:2]])[places],
        best_trial=number,
        n_steps=n_steps,
        seed=chosen.config.seed,
        rows=corpus.rows.at(places),
    )
    reason = ""
    if len(ensemble.members) == 1:
        reason = "a single repeat has the lowest cross-entropy"
    elif n_steps is None and not ensemble.difference.value > 0:
        reason = f"its cross-fitted difference to trial {number} is {ensemble.difference.signed}"
    if reason:
        warn(
            "An ensemble of these repeats adds nothing:"
            f" {reason}. The export is trial {number} alone."
        )
        return None
    return ensemble


def retrainings_of(chosen: ChosenTrial, ensemble: Ensemble) -> list[Retraining]:
    trials = {trial.number: trial for trial in chosen.study.summary.trials}
    epochs = {f.trial: f.epochs for f in chosen.confirmation.finalists}
    return [
        Retraining(trials[member.trial], epochs=epochs[member.trial], seed=member.seed)
        for member in ensemble.members
    ]


def repeats_of(
    chosen: ChosenTrial, corpus: Corpus, *, warn: Callable[[str], None]
) -> tuple[list[Repeat], data_rows.Numbers]:
    """Return the repeats that an ensemble can be chosen from, with their predictions of the same
    rows, and the places of these rows among those of the training and then the validation split.

    Left out are finalists whose trainings failed, that exceed a limit of the study, that read the
    features of a Keras model, or that read other words or tokens than the chosen trial
    (`_reading`). If the chosen trial takes n-grams alone, the first finalist that does not counts
    in its place.
    """
    confirmation, folder = chosen.confirmation, chosen.study.folder
    finalists = sorted(confirmation.finalists, key=lambda f: f.trial != chosen.trial.number)
    if any(f.trial == chosen.trial.number and _reads_keras_model(f) for f in finalists):
        raise StudyError(
            "An ensemble must have no member that reads the features of a Keras model. Export the"
            " confirmed best alone."
        )
    kept = {
        finalist.trial: {
            repeat.seed: repeat
            for repeat in kept_predictions(folder, corpus, confirmation, trial=finalist.trial)
        }
        for finalist in finalists
        if not finalist.failures and not finalist.is_over_limit
    }
    readings = {
        f.trial: _reading(f) for f in finalists if kept.get(f.trial) and not _reads_keras_model(f)
    }
    first = next((reading for reading in readings.values() if reading is not None), None)
    joined = {trial: kept[trial] for trial, own in readings.items() if own in (None, first)}
    if n_left_out := sum(map(bool, kept.values())) - len(joined):
        warn(
            f"The ensemble leaves out {counted(n_left_out, 'configuration')}: members must have the"
            " same classes, texts, preset, sequence_length and truncating, and no Keras model as"
            " preset."
        )
    if confirmation.is_resplit:
        return _joined_seeds(joined)
    repeats = [(trial, repeat) for trial, own in joined.items() for repeat in own.values()]
    places = repeats[0][1].places if repeats else np.zeros(0, np.int64)
    return [Repeat(trial, own.seed, own.predictions) for trial, own in repeats], places


def _joined_seeds(
    joined: dict[int, dict[int, RepeatPredictions]],
) -> tuple[list[Repeat], data_rows.Numbers]:
    """Return each configuration as one `Repeat`, over the seeds that all of them have."""
    seeds = sorted(set.intersection(*map(set, joined.values()))) if joined else []
    if not seeds:
        return [], np.zeros(0, np.int64)
    repeats = [
        Repeat(trial, seeds[0], np.concatenate([own[seed].predictions for seed in seeds]))
        for trial, own in joined.items()
    ]
    of_first = next(iter(joined.values()))
    return repeats, np.concatenate([of_first[seed].places for seed in seeds])


def _reads_keras_model(finalist: Finalist) -> bool:
    return is_keras_file(finalist.values.get("preset"))


def _reading(finalist: Finalist) -> tuple[Value | None, ...] | None:
    """Return what a finalist reads beside n-grams: words, or the tokens of a preset at one length;
    None if it declares neither. An ensemble has one of these inputs: the tokens of a preset at one
    length can't be cut out of those at another length.
    """
    values = finalist.values
    if "feature_length" in values:
        return values["preset"], values["feature_length"], TRUNCATING
    if "preset" in values:
        return tuple(values.get(name) for name in ("preset", "sequence_length", "truncating"))
    return ("words",) if "vocab_size" in values else None


def common_input(inputs: Sequence[ModelInput], corpus: Corpus) -> ModelInput:
    """Return an input from which each of these inputs can be made.

    The vocabulary is the largest one. If the inputs drop the same part of a long text, the length
    is the largest one. Otherwise the middle is dropped, and either end is as long as the longest
    input. N-grams have the largest order, and as many rows as contain all n-grams of each input.
    Models that take the tokens of a preset take the same tokens, and may have words and n-grams
    beside them. Models that take texts have the same input, which is returned.
    """
    of_words = [item for item in inputs if item.vocab_size or item.preset]
    read = {(item.preset, item.sequence_length, item.truncating) for item in of_words}
    is_mixed = len(read) > 1 and any(preset for preset, *_ in read)
    if is_mixed or len({item.takes_texts for item in inputs}) > 1:
        raise StudyError(
            "The members of an ensemble must all take texts, or all words, or all the tokens of one"
            " preset, cut in one way. Export the confirmed best alone."
        )
    if inputs[0].takes_texts:
        return inputs[0]
    of_ngrams = [item for item in inputs if item.ngrams]
    parts = {item.truncating for item in of_words}
    # All fields are read, so that the field of a further kind of input is carried too.
    names = [item.name for item in fields(inputs[0])]
    largest = {name: max(getattr(item, name) for item in inputs) for name in names}
    common = replace(inputs[0], **largest).exported
    orders = _orders(corpus, common.ngrams) if of_ngrams else np.zeros(0, np.uint8)
    return replace(
        common,
        sequence_length=common.sequence_length * (2 if len(parts) > 1 else 1),
        truncating="middle" if len(parts) > 1 else next(iter(parts), "pre"),
        ngram_vocab_size=max((_n_rows(orders, item) for item in of_ngrams), default=0),
    )


def average(sources: Sequence[Source], weights: Sequence[float]) -> Source:
    """Return a model whose output is the weighted mean of the class probabilities of these models,
    (batch, n_classes). It takes their `common_input`.
    """
    corpus, target = sources[0].corpus, sources[0].target
    common = common_input([source.inputs for source in sources], corpus)
    arrays = {kind.name: _tensor(kind, common) for kind in kinds_in(common)}
    features: dict[int, Any] = {}  # by the number of trained layers
    orders = _orders(corpus, common.ngrams) if common.ngrams else np.zeros(0, np.uint8)
    terms = []
    for number, (source, weight) in enumerate(zip(sources, weights, strict=True)):
        own, inputs, name = dict(arrays), source.inputs, f"member_{number}"
        source.graph.name = name  # The layers of a Keras model need different names.
        if FEATURES in source.kinds:
            n_trained = inputs.trained_layers
            if n_trained not in features:
                features[n_trained] = FEATURES.layers(arrays[TOKENS.name], None, inputs)
            own[FEATURES.name] = features[n_trained]
        if inputs.vocab_size:
            own[IDS.name] = _own_ids(arrays[IDS.name], common, inputs)
        if inputs.ngrams:
            table = f"{name}_ngrams"
            own[NGRAMS.name] = _own_ngrams(arrays[NGRAMS.name], orders, common, inputs, name=table)
        output = source.predictions(source.call(own))
        if target.is_exclusive:  # The outputs of several sigmoids do not sum to 1.
            total = keras.ops.sum(output, axis=1, keepdims=True)
            output = output / keras.ops.maximum(total, 1e-7)
        terms.append(output * weight)
    model = keras.Model(list(arrays.values()), sum(terms[1:], terms[0]), name="ensemble")
    return Source(model, values_of(common), corpus, target)


def _tensor(kind: Input, inputs: ModelInput) -> Any:
    if kind is TEXTS:
        return keras.Input((), dtype="string", name="text")
    length = inputs.sequence_length if kind is IDS else None
    return keras.Input((length,), dtype="int32", name=kind.name)


def _own_ids(ids: Any, common: ModelInput, own: ModelInput) -> Any:
    ops = keras.ops
    if (own.sequence_length, own.truncating) != (common.sequence_length, common.truncating):
        ids = without_excess(ids, own.sequence_length, own.truncating)
    return (
        ids
        if own.vocab_size == common.vocab_size
        else ops.where(ops.less(ids, own.vocab_size), ids, UNKNOWN_ID)
    )


def _own_ngrams(
    ngrams: Any, orders: npt.NDArray[np.uint8], common: ModelInput, own: ModelInput, *, name: str
) -> Any:
    """Return the ids of the n-grams as a model of the ensemble takes them: 0 in the place of
    n-grams that its vocabulary does not contain.
    """
    ops = keras.ops
    if own.ngrams != common.ngrams:
        # An n-gram of lower order has another rank among the n-grams of lower order.
        is_kept = orders[: common.ngram_vocab_size - FIRST_WORD_ID] <= own.ngrams
        ranks = np.where(is_kept, np.cumsum(is_kept) + FIRST_WORD_ID - 1, 0)
        table = np.concatenate([np.zeros(FIRST_WORD_ID), ranks])[:, None]
        layer = keras.layers.Embedding(
            common.ngram_vocab_size,
            1,
            embeddings_initializer="zeros",
            trainable=False,
            dtype="int32",
            name=name,
        )
        layer.build()
        layer.set_weights([table.astype(np.int32)])
        ngrams = ops.squeeze(layer(ngrams), -1)
    return ops.where(ops.less(ngrams, own.ngram_vocab_size), ngrams, 0)


def _orders(corpus: Corpus, order: int) -> npt.NDArray[np.uint8]:
    """Return the number of words of each n-gram of at most `order` words, the most frequent first,
    uint8 (n_ngrams,).
    """
    orders = corpus.ngram_orders[FIRST_WORD_ID:]
    return orders[orders <= order]


def _n_rows(orders: npt.NDArray[np.uint8], inputs: ModelInput) -> int:
    """Return the number of rows of a vocabulary with these orders that contain all n-grams of an
    input.
    """
    (places,) = np.nonzero(orders <= inputs.ngrams)
    n_kept = min(inputs.ngram_vocab_size - FIRST_WORD_ID, len(places))
    return int(places[n_kept - 1]) + 1 + FIRST_WORD_ID if n_kept else FIRST_WORD_ID + 1


def join(chosen: ChosenTrial, ensemble: Ensemble, trained: Sequence[Trained]) -> Trained:
    sources = [own.source for own in trained]
    weights = [member.weight for member in ensemble.members]
    return Trained(
        chosen.trial,
        average(sources, weights),
        epochs=sum(own.epochs for own in trained),
        seconds=sum(own.seconds for own in trained),
        hypermodel=trained[0].hypermodel,
        expect=partial(mean_of_members, sources, weights),
    )


def mean_of_members(sources: Sequence[Source], weights: Sequence[float], texts: list[str]) -> Array:
    # Each member computes its own, so the check of an export also covers how the members were
    # joined.
    target = sources[0].target
    mean = np.zeros((len(texts), target.width))
    for source, weight in zip(sources, weights, strict=True):
        outputs = pipeline_probabilities(source, texts)
        mean += weight * (_shares(outputs) if target.is_exclusive else outputs)
    return mean


def _shares(outputs: Array) -> npt.NDArray[np.float64]:
    # The outputs of a sigmoid for each class do not sum to 1.
    total = np.maximum(outputs.sum(axis=-1, keepdims=True), 1e-7)
    shares: npt.NDArray[np.float64] = outputs / total
    return shares


def describe_ensemble(
    chosen: ChosenTrial,
    ensemble: Ensemble,
    trained: Sequence[Trained],
    joined: Trained,
    *,
    single: Trained,
) -> EnsembleFacts:
    # A model of n-grams alone is timed with as many tokens as the ensemble takes.
    length = {k: v for k, v in joined.source.values.items() if k == "sequence_length"}

    def size_of(own: Trained) -> ModelSize:
        model = with_encoder(own.source).model
        latency = prediction.latency_ms(model, {**length, **own.source.values})
        return ModelSize(n_parameters=int(model.count_params()), latency_ms=round(latency, 3))

    size, size_of_best = size_of(joined), size_of(single)
    for name, limit in exceeded(chosen.config.limits, vars(size)).items():
        raise StudyError(
            f"An ensemble must keep the study's limits; its {name} is {vars(size)[name]:,} and the"
            f" limit is {limit:,}. Ask for fewer models (ensemble 2), or export the confirmed best"
            " alone."
        )
    return EnsembleFacts(
        members=[
            EnsembleMember(**vars(member), epochs=own.epochs, hyperparameters=own.source.values)
            for member, own in zip(ensemble.members, trained, strict=True)
        ],
        validation_difference=ensemble.difference,
        size=size,
        size_of_best=size_of_best,
    )
