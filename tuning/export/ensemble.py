"""The ensemble of an export: the choice of its members among the kept repeats of the confirmation,
its model, and its description.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import keras_tuner
import numpy as np

from tuning.config import exceeded
from tuning.confirmation.ensemble import Ensemble, Repeat, choose_ensemble
from tuning.confirmation.estimates import estimate
from tuning.confirmation.others import trained_of
from tuning.confirmation.rounds import Confirmation, Finalist
from tuning.data.corpus import Corpus
from tuning.errors import ArgumentError, StudyError
from tuning.evaluation.predictions import read_probabilities
from tuning.evaluation.scores import EnsembleFacts, EnsembleMember, ModelScores, ModelSize, Scores
from tuning.export.description import ChosenTrial
from tuning.export.ensemble_graph import WeightedModel, average, common_input, values_of_input
from tuning.export.formats import model_input
from tuning.export.retraining import Trained
from tuning.results import StudyDir
from tuning.spaces.loading import SearchSpace, load_hypermodel
from tuning.spaces.ranges import Value
from tuning.study.summary import Summary
from tuning.training import fit, prediction
from tuning.training.result import TrainingJob
from tuning.workers.messages import train_request

AUTO = "auto"
MIN_STEPS, MAX_STEPS = 2, 20
# Maximum difference between a probability of a kept model and the probability that was stored with
# it. A GPU and a CPU may differ by 1e-3.
MAX_DIFFERENCE = 0.01


@dataclass(frozen=True)
class TrainedEnsemble(Trained):
    """An ensemble of trained models. `trial` is the confirmed best, and `epochs` the number of
    epochs of all members together; no member is trained again, so `seconds` is 0.
    """

    def model_scores(self, summary: Summary, scores: Scores) -> ModelScores:
        """Return the scores on the test split. The search has no value of an ensemble."""
        return ModelScores(
            **vars(scores), trial=self.trial.number, epochs=self.epochs, seconds=self.seconds
        )


def parse_size(text: str) -> int | None:
    """Return the number of steps in the value of `--ensemble`; None for "auto".

    Raises:
        ArgumentError: the text is neither "auto" nor a whole number from 2 to 20.
    """
    if text == AUTO:
        return None
    if text.isascii() and text.isdigit() and MIN_STEPS <= int(text) <= MAX_STEPS:
        return int(text)
    raise ArgumentError(
        f"--ensemble must be auto or a whole number from {MIN_STEPS} to {MAX_STEPS} (make:"
        f" ENSEMBLE=); received {text!r}. An export without --ensemble is a single model."
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
                    "--trial and --ensemble must not be given together: the members of an ensemble"
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
            f" none. Type `make confirm STUDY={folder.name}` first."
        )
    return estimates.best.trial


def choose_members(
    chosen: ChosenTrial, corpus: Corpus, *, size: str, warn: Callable[[str], None]
) -> Ensemble | None:
    """Choose the members of an ensemble from the kept repeats of a study's confirmation.

    Args:
        chosen: the confirmed best, with which the ensemble is compared.
        corpus: the tokenized data.
        size: number of steps of the choice, or "auto".
        warn: called with a sentence if the ensemble adds nothing, or if kept models are left out.

    Returns:
        The ensemble. None if a single repeat was chosen, or if the size is "auto" and the ensemble
        is not better than the confirmed best.

    Raises:
        ArgumentError: `size` is not valid.
        StudyError: no trained model of the confirmed best was kept.
    """
    n_steps, number = parse_size(size), chosen.trial.number
    labels = corpus.split("validation").labels
    repeats = _kept_repeats(chosen, shape=(len(labels), len(corpus.card.class_names)), warn=warn)
    if not any(repeat.trial == number for repeat in repeats):
        n_seeds = len(chosen.required_confirmation().seeds)
        raise StudyError(
            "An ensemble must have trained models of the confirmed best; the confirmation of"
            f" {chosen.folder.name!r} has kept {len(repeats)} models, and none of trial {number}."
            f" Type `make confirm SEEDS={n_seeds + 1}` to train one more seed and keep its models."
        )
    ensemble = choose_ensemble(
        repeats, labels, best_trial=number, n_steps=n_steps, seed=chosen.config.seed
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


def load_ensemble(
    chosen: ChosenTrial, ensemble: Ensemble, space: SearchSpace, *, space_path: Path, corpus: Corpus
) -> tuple[TrainedEnsemble, list[EnsembleMember]]:
    """Return an ensemble as one model, made of the trained models that the confirmation has kept,
    and its members.

    Raises:
        StudyError: a kept model is damaged, or is not a model of the present search space file.
    """
    finalists = {
        finalist.trial: finalist for finalist in trained_of(chosen.required_confirmation())
    }
    hypermodel = load_hypermodel(space_path)
    members, models = [], []
    for member in ensemble.members:
        finalist = finalists[member.trial]
        request = train_request(
            chosen.config, finalist.values, space=space, space_path=space_path, corpus=corpus
        )
        path = chosen.folder.repeat_path(member.trial, member.seed)
        job = replace(request.job, seed=member.seed, weights=str(path))
        model = _load_kept(hypermodel, job, corpus=corpus)
        name = f"trial_{member.trial}_seed_{member.seed}"
        models.append(
            WeightedModel(model, model_input(model, finalist.values), member.weight, name)
        )
        members.append(
            EnsembleMember(**vars(member), epochs=finalist.epochs, hyperparameters=finalist.values)
        )
    common = common_input([item.inputs for item in models], corpus)
    trained = TrainedEnsemble(
        chosen.trial,
        values_of_input(common),
        epochs=sum(member.epochs for member in members),
        model=average(models, common, corpus),
        seconds=0.0,
    )
    return trained, members


def _load_kept(
    hypermodel: keras_tuner.HyperModel, job: TrainingJob, *, corpus: Corpus
) -> keras.Model:
    """Return a kept model after a check that its probabilities are the stored probabilities.

    Raises:
        StudyError: the file is damaged, or the search space builds another model.
    """
    path = Path(job.weights or "")
    refusal = (
        "A kept model must give the probabilities that it gave in the confirmation; {path} {fault}."
        " Restore the search space of the confirmation, or delete {path} to choose among the other"
        " models."
    )
    try:
        model = fit.load_trained(hypermodel, job)
    except ValueError as error:
        fault = "is damaged, or the search space now builds another model"
        raise StudyError(refusal.format(path=path, fault=fault)) from error
    texts = corpus.split("validation").texts
    view = prediction.make_view(model, job.values, texts)
    probabilities = prediction.predict(model, view, n_classes=job.n_classes)
    kept = read_probabilities(path)
    difference = math.inf if kept is None else float(np.abs(probabilities - kept).max())
    if not difference <= MAX_DIFFERENCE:
        fault = f"gives probabilities that differ by up to {difference:.3f}"
        raise StudyError(refusal.format(path=path, fault=fault))
    return model


def describe_ensemble(
    chosen: ChosenTrial,
    ensemble: Ensemble,
    members: list[EnsembleMember],
    *,
    trained: TrainedEnsemble,
    single: Trained,
) -> EnsembleFacts:
    """Return the description of an ensemble for the manifest.

    Raises:
        StudyError: the ensemble is larger or slower than the study's limits allow.
    """
    size, size_of_best = (
        ModelSize(
            n_parameters=int(model.model.count_params()),
            latency_ms=round(prediction.latency_ms(model.model, model.values), 3),
        )
        for model in (trained, single)
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
        members=members,
        validation_difference=ensemble.difference,
        size=size,
        size_of_best=size_of_best,
    )


def _kept_repeats(
    chosen: ChosenTrial, *, shape: tuple[int, int], warn: Callable[[str], None]
) -> list[Repeat]:
    """Return the repeats whose trained model was kept, with probabilities of this shape (n_texts,
    n_classes).

    Finalists over a limit of the study are left out, and those that do not take the same tokens of
    a preset as the chosen trial: the cuts at different lengths can't be made from one input.
    """
    folder, finalists = chosen.folder, trained_of(chosen.required_confirmation())
    best = next(f for f in finalists if f.trial == chosen.trial.number)
    kept = [
        Repeat(finalist.trial, seed, probabilities)
        for finalist in finalists
        if not finalist.is_over_limit and _tokens(finalist) == _tokens(best)
        for seed, value in finalist.repeats.items()
        if value is not None
        and (probabilities := read_probabilities(folder.repeat_path(finalist.trial, seed)))
        is not None
    ]
    repeats = [repeat for repeat in kept if repeat.probabilities.shape == shape]
    if len(repeats) < len(kept):
        n = f"{len(kept) - len(repeats)} of {len(kept)}"
        warn(f"The ensemble leaves out {n} kept models, which have other classes or texts.")
    return repeats


def _tokens(finalist: Finalist) -> tuple[Value | None, ...]:
    """Return which tokens of a preset a finalist takes; empty if it takes none."""
    names = ("preset", "sequence_length", "truncating") if "preset" in finalist.values else ()
    return tuple(finalist.values.get(name) for name in names)
