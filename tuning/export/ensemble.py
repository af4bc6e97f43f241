"""The ensemble of an export: the choice of its members among the repeats of the confirmation, its
model, and its description.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from tuning.commands import typed
from tuning.config import exceeded
from tuning.confirmation.ensemble import Ensemble, Repeat, choose_ensemble
from tuning.confirmation.estimates import estimate
from tuning.confirmation.plan import trained_of
from tuning.confirmation.rounds import Confirmation, Finalist
from tuning.data.corpus import Corpus
from tuning.data.splits import SplitReviews, distinct_codes
from tuning.errors import ArgumentError, StudyError
from tuning.evaluation.metrics import Array
from tuning.evaluation.predictions import read_probabilities
from tuning.evaluation.scores import EnsembleFacts, EnsembleMember, ModelScores, ModelSize, Scores
from tuning.export.description import ChosenTrial
from tuning.export.ensemble_graph import WeightedModel, average, common_input, values_of_input
from tuning.export.formats import model_input, pipeline_probabilities
from tuning.export.retraining import Retraining, Trained
from tuning.export.writers import Source
from tuning.results import StudyDir
from tuning.spaces.ranges import Value, Values
from tuning.study.summary import Summary
from tuning.training import prediction

AUTO = "auto"
MIN_STEPS, MAX_STEPS = 2, 20


@dataclass(frozen=True)
class TrainedEnsemble(Trained):
    """An ensemble of retrained models. `trial` is the confirmed best; `epochs` and `seconds` are
    those of all members together.
    """

    def model_scores(self, summary: Summary, scores: Scores) -> ModelScores:
        """Return the scores on the test split. The search has no value of an ensemble."""
        return ModelScores(
            **vars(scores),
            trial=self.trial.number,
            epochs=self.epochs,
            seconds=round(self.seconds, 1),
        )


def parse_size(text: str) -> int | None:
    """Return the number of steps in the value of `ensemble`; None for "auto".

    Raises:
        ArgumentError: the text is neither "auto" nor a whole number from 2 to 20.
    """
    if text == AUTO:
        return None
    if text.isascii() and text.isdigit() and MIN_STEPS <= int(text) <= MAX_STEPS:
        return int(text)
    raise ArgumentError(
        f"ensemble must be auto or a whole number from {MIN_STEPS} to {MAX_STEPS}; received"
        f" {text!r}. An export without ensemble is a single model."
    )


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """The choice of the model that an export contains: at most one of the two values is given.

    Args:
        number: number of the trial.
        ensemble: size of an ensemble, or "auto".

    Raises:
        ArgumentError: `ensemble` is not valid, or both values are given.
    """

    number: int | None = None
    ensemble: str | None = None

    def __post_init__(self) -> None:
        if self.ensemble is not None:
            parse_size(self.ensemble)
            if self.number is not None:
                raise ArgumentError(
                    "trial and ensemble must not be given together: the members of an ensemble"
                    " are chosen from the trials of the confirmation."
                )


def confirmed_trial(folder: StudyDir) -> int:
    """Return the number of the trial that leads a study's confirmation.

    Raises:
        StudyError: the study has no confirmation with repeats.
    """
    confirmation = Confirmation.load(folder)
    estimates = estimate(confirmation) if confirmation else None
    if estimates is None:
        raise StudyError(
            f"An ensemble must have repeats of a confirmation to choose from; {folder.name!r} has"
            f" none. Type `{typed('confirm', study=folder.name)}` first."
        )
    return estimates.best.trial


def choose_members(
    chosen: ChosenTrial,
    corpus: Corpus,
    splits: SplitReviews,
    *,
    size: str,
    warn: Callable[[str], None],
) -> Ensemble | None:
    """Choose the members of an ensemble from the repeats of a study's confirmation.

    Args:
        chosen: the confirmed best, with which the ensemble is compared.
        corpus: the tokenized data.
        splits: the data as they were read.
        size: number of steps of the choice, or "auto".
        warn: called with a sentence if the ensemble adds nothing, or if repeats are left out.

    Returns:
        The ensemble. None if a single repeat was chosen, or if the size is "auto" and the ensemble
        is not better than the confirmed best.

    Raises:
        ArgumentError: `size` is not valid.
        StudyError: no predictions of the confirmed best were kept.
    """
    n_steps, number = parse_size(size), chosen.trial.number
    labels = corpus.split("validation").labels
    repeats = _kept_repeats(chosen, shape=(len(labels), len(corpus.card.class_names)), warn=warn)
    if not any(repeat.trial == number for repeat in repeats):
        n_seeds = len(chosen.required_confirmation().seeds)
        raise StudyError(
            "An ensemble must have predictions of the confirmed best; the confirmation of"
            f" {chosen.folder.name!r} has kept those of {len(repeats)} repeats, and none of trial"
            f" {number}. Type `{typed('confirm', seeds=n_seeds + 1)}` to train one more seed and"
            " keep its predictions."
        )
    ensemble = choose_ensemble(
        repeats,
        labels,
        best_trial=number,
        n_steps=n_steps,
        seed=chosen.config.seed,
        codes=distinct_codes(splits.frames["validation"]["text"]),
    )
    reason = ""
    if len(ensemble.members) == 1:
        reason = "a single repeat has the lowest cross-entropy"
    elif n_steps is None and not ensemble.difference.value > 0:
        reason = f"its cross-fitted difference to trial {number} is {ensemble.difference}"
    if reason:
        warn(
            "An ensemble of these repeats adds nothing on the validation split:"
            f" {reason}. The export is trial {number} alone."
        )
        return None
    return ensemble


def retrainings_of(chosen: ChosenTrial, ensemble: Ensemble) -> list[Retraining]:
    """Return the retrainings of an ensemble's members, in the order of `ensemble.members`. A member
    has the seed and the number of epochs of its repeat.
    """
    trials = {trial.number: trial for trial in chosen.summary.trials}
    epochs = {f.trial: f.epochs for f in trained_of(chosen.required_confirmation())}
    return [
        Retraining(trials[member.trial], epochs=epochs[member.trial], seed=member.seed)
        for member in ensemble.members
    ]


def join(
    chosen: ChosenTrial, ensemble: Ensemble, trained: Sequence[Trained], *, corpus: Corpus
) -> TrainedEnsemble:
    """Return an ensemble as one model. `trained`: the retrained members, in the order of
    `ensemble.members`.
    """
    models = [
        WeightedModel(
            own.model,
            model_input(own.model, own.values),
            member.weight,
            f"trial_{member.trial}_seed_{member.seed}",
            own.to_probabilities,
        )
        for member, own in zip(ensemble.members, trained, strict=True)
    ]
    common = common_input([item.inputs for item in models], corpus)
    return TrainedEnsemble(
        chosen.trial,
        values_of_input(common),
        epochs=sum(own.epochs for own in trained),
        model=average(models, common, corpus),
        seconds=sum(own.seconds for own in trained),
        hypermodel=trained[0].hypermodel,
        expect=partial(mean_of_members, models, [own.values for own in trained], corpus),
    )


def mean_of_members(
    models: Sequence[WeightedModel], values: Sequence[Values], corpus: Corpus, texts: list[str]
) -> Array:
    """Return the weighted mean of the members' class probabilities of raw texts, each computed by
    the member alone. So the check of an export also covers how the members were joined.
    """
    mean = np.zeros((len(texts), len(corpus.card.class_names)))
    for item, own in zip(models, values, strict=True):
        source = Source.of(item.model, item.inputs, corpus, item.to_probabilities)
        outputs = pipeline_probabilities(source, own, texts)
        # The outputs of several sigmoids do not sum to 1.
        mean += item.weight * outputs / np.maximum(outputs.sum(axis=1, keepdims=True), 1e-7)
    return mean


def describe_ensemble(
    chosen: ChosenTrial,
    ensemble: Ensemble,
    trained: Sequence[Trained],
    joined: TrainedEnsemble,
    *,
    single: Trained,
) -> EnsembleFacts:
    """Return the description of an ensemble for the manifest.

    Args:
        trained: the retrained members, in the order of `ensemble.members`.
        joined: the ensemble as one model.
        single: the confirmed best, with whose size the ensemble's is compared.

    Raises:
        StudyError: the ensemble is larger or slower than the study's limits allow.
    """
    # A model of n-grams alone is timed with as many tokens as the ensemble takes.
    length = {k: value for k, value in joined.values.items() if k == "sequence_length"}
    size, size_of_best = (
        ModelSize(
            n_parameters=int(model.model.count_params()),
            latency_ms=round(prediction.latency_ms(model.model, {**length, **model.values}), 3),
        )
        for model in (joined, single)
    )
    over = exceeded(chosen.config.limits, vars(size))
    if over:
        name, limit = next(iter(over.items()))
        raise StudyError(
            f"An ensemble must keep the study's limits; its {name} is {vars(size)[name]:,} and the"
            f" limit is {limit:,}. Ask for fewer models (ENSEMBLE=2), or export the confirmed best"
            " alone."
        )
    return EnsembleFacts(
        members=[
            EnsembleMember(**vars(member), epochs=own.epochs, hyperparameters=own.values)
            for member, own in zip(ensemble.members, trained, strict=True)
        ],
        validation_difference=ensemble.difference,
        size=size,
        size_of_best=size_of_best,
    )


def _kept_repeats(
    chosen: ChosenTrial, *, shape: tuple[int, int], warn: Callable[[str], None]
) -> list[Repeat]:
    """Return the repeats whose predictions were kept, with probabilities of this shape (n_texts,
    n_classes).

    Finalists over a limit of the study are left out, and those that read other words or tokens than
    the chosen trial (`_reading`). If the chosen trial takes n-grams alone, the first finalist with
    repeats that does not counts in its place.
    """
    folder, finalists = chosen.folder, trained_of(chosen.required_confirmation())
    kept = [
        (_reading(finalist), Repeat(finalist.trial, seed, probabilities))
        for finalist in sorted(finalists, key=lambda f: f.trial != chosen.trial.number)
        if not finalist.is_over_limit
        for seed, value in finalist.repeats.items()
        if value is not None
        and (probabilities := read_probabilities(folder.repeat_path(finalist.trial, seed)))
        is not None
    ]
    whole = [(reading, repeat) for reading, repeat in kept if repeat.probabilities.shape == shape]
    first = next((reading for reading, _ in whole if reading is not None), None)
    repeats = [repeat for reading, repeat in whole if reading in (None, first)]
    if len(whole) < len(kept):
        n = f"{len(kept) - len(whole)} of {len(kept)}"
        warn(f"The ensemble leaves out {n} repeats, which have other classes or texts.")
    if len(repeats) < len(whole):
        n = f"{len(whole) - len(repeats)} of {len(kept)}"
        warn(
            f"The ensemble leaves out {n} repeats, which read other tokens: its members must have"
            " the same preset, sequence_length and truncating."
        )
    return repeats


def _reading(finalist: Finalist) -> tuple[Value | None, ...] | None:
    """Return what a finalist reads beside n-grams: words, or the tokens of a preset at one length;
    None if it declares neither. An ensemble has one of these inputs: the tokens of a preset at one
    length can't be cut out of those at another length.
    """
    values = finalist.values
    if "preset" in values:
        return tuple(values.get(name) for name in ("preset", "sequence_length", "truncating"))
    return ("words",) if "vocab_size" in values else None
