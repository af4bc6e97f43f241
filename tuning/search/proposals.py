"""The trials that Optuna proposes for a study."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from tuning.config import SAMPLERS
from tuning.search import linear_model
from tuning.search.open_trials import OpenTrial
from tuning.search.writer import DEATH_LIMIT, StudyWriter, is_unproven
from tuning.spaces.hyperparameters import defaults, suggest, to_params
from tuning.spaces.ranges import Values
from tuning.spaces.starting_points import with_choice
from tuning.study.optuna_internals import (
    claim_trial,
    fail_trial,
    fixed_params_of,
    read_trial,
    storage_of,
)
from tuning.study.samplers import derive_seed, make_sampler
from tuning.study.trials import attributes_of, is_at_work

logger = logging.getLogger(__name__)


class Proposals:
    def __init__(self, writer: StudyWriter) -> None:
        self._writer, self._config, self._space = writer, writer.config, writer.space
        points = enumerate(self._space.starting_points, start=1)
        self._starting_points = dict(
            sorted(points, key=lambda point: point[0] not in self._space.linear_points)
        )

    @property
    def is_exhausted(self) -> bool:
        """Whether the sampler has proposed all configurations, and none is queued again."""
        return self._writer.is_exhausted and not self._writer.summary.counts["waiting"]

    def ask(self, *, n_trials: int) -> OpenTrial | None:
        """Return the next trial; None where no slot of the study's `n_trials` is free.

        The result is also None while another trial must train alone, because
        processes died too often while they trained its configuration, and while the next trial
        is a starting point whose n-grams the linear model has not chosen yet.
        """
        started = time.perf_counter()
        writer = self._writer
        writer.refresh()
        summary, trials = writer.summary, writer.summary.trials
        if summary.n_taken >= n_trials or self._must_wait():
            return None
        is_queued = summary.counts["waiting"] > 0 or self._queue_starting_point(trials)
        if is_queued is None:
            return None
        trial_id = claim_trial(writer.study, any_waiting=is_queued)
        storage = storage_of(writer.study)
        for name in ("parts_per_epoch", "n_folds"):
            if (n := getattr(self._config.train, name)) > 1:
                storage.set_trial_user_attr(trial_id, name, n)
        opened = self._draw(trial_id)
        writer.reread(opened)
        opened.storage_seconds = time.perf_counter() - started
        return opened

    def _queue_starting_point(self, trials: Sequence[FrozenTrial]) -> bool | None:
        """Queue the first starting point that no trial has; return whether a point was queued, or
        None where the next point waits for the n-grams of the linear model.
        """
        # Points are queued one by one, so that each point is queued once even after a kill.
        if self._starting_points:
            for trial in trials:
                self._starting_points.pop(attributes_of(trial).get("starting_point", 0), None)
        session, items, must_wait = self._writer.session, self._space.hyperparameters, False
        for number, point in [*self._starting_points.items()]:
            choice: Values = {}
            if number in self._space.linear_points:
                if linear_model.is_pending(session):
                    must_wait = True
                    # An interrupted study of one worker gives what an uninterrupted study gives, so
                    # the order of its trials must not depend on the seconds of the training. With
                    # several workers, the other points are queued in the meantime.
                    if len(session.pool.workers) == 1:
                        break
                    continue
                choice = linear_model.choice_of(session)
            values = with_choice(point, items, choice)
            if values == defaults(items):
                # The baseline with other n-grams, and the choice is none or the same.
                del self._starting_points[number]
                continue
            attributes = {"starting_point": number, **({"linear_ngrams": True} if choice else {})}
            self._writer.study.enqueue_trial(to_params(values, items), user_attrs=attributes)
            return True
        return None if must_wait else False

    def _must_wait(self) -> bool:
        """Return whether a running trial, or the next queued trial, is on its last try and must
        train alone. Until that trial trains a further epoch, a death of this process can then have
        no other trial as its cause.
        """
        trials = self._writer.summary.trials
        own = [trial for trial in trials if is_at_work(trial)]
        queued = [trial for trial in trials if trial.state == TrialState.WAITING][:1]
        if own and any(map(_is_on_last_try, queued)):
            return True
        return any(_is_on_last_try(trial) and is_unproven(trial) for trial in own)

    def has_suspect(self, running: Iterable[OpenTrial]) -> bool:
        trials = self._writer.summary.trials
        own = (trials[opened.number] for opened in running)
        return any(_is_on_last_try(trial) and is_unproven(trial) for trial in own)

    def _draw(self, trial_id: int) -> OpenTrial:
        study, seed = self._writer.study, self._config.seed
        if self._config.sampler in SAMPLERS:  # Else the study has the user's object.
            number = storage_of(study).get_trial_number_from_id(trial_id)
            study.sampler = make_sampler(
                self._config.sampler, seed=derive_seed(seed, number), study_seed=seed
            )
        trial = Trial(study, trial_id)
        try:
            return OpenTrial(trial, suggest(trial, self._space.hyperparameters))
        except ValueError as error:
            # Another program has queued a value that is none of the choices of the space.
            if not fixed_params_of(read_trial(trial)):
                raise
            logger.warning("trial %d fails: %s", trial.number, error)
            fail_trial(trial)
            raise UpdateFinishedTrialError(str(error)) from error


def _is_on_last_try(trial: FrozenTrial) -> bool:
    return bool(attributes_of(trial).get("n_deaths", 0) >= DEATH_LIMIT - 1)
