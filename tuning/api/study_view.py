"""The contents of a study as a Python object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.results import ResultsDir, StudyDir

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    import plotly.graph_objects as go

    from tuning.config import StudyConfig
    from tuning.confirmation.rounds import Confirmation
    from tuning.spaces.loading import SearchSpace
    from tuning.study.summary import Best, Status, Summary


@dataclass(frozen=True)
class Configuration:
    """The configuration of a trial, and its values of the metric.

    Args:
        number: number of the trial.
        hyperparameters: value of each hyperparameter by name.
        value: value of the study's metric in the search.
        is_confirmed: whether the confirmation found it to be the best.
        mean: corrected mean of the metric over fresh seeds; None without a confirmation.
        interval: 95 % confidence interval of `mean`; None without a confirmation.

    Example:
        >>> best = tuning.load_study("ngrams-reviews").best
        >>> best.hyperparameters["ngrams"], best.value
    """

    number: int
    hyperparameters: dict[str, Any]
    value: float
    is_confirmed: bool
    mean: float | None = None
    interval: tuple[float, float] | None = None


def configuration_of(best: Best, space: SearchSpace) -> Configuration:
    """Return the best trial of a study as a configuration."""
    from tuning.study.trials import value_of, values_of

    mean = best.mean
    return Configuration(
        number=best.trial.number,
        hyperparameters=dict(values_of(best.trial, space)),
        value=value_of(best.trial),
        is_confirmed=best.is_confirmed,
        mean=mean.value if mean else None,
        interval=(mean.low, mean.high) if mean else None,
    )


class StudyView:
    """The contents of a study. Every property reads the files and the storage again.

    Args:
        folder: the folder of the study.
        results: the folder of all studies.
        storage: URL of the Optuna storage; None: the file optuna.db in `results`.
    """

    def __init__(
        self, folder: StudyDir, results: ResultsDir, *, storage: str | None = None
    ) -> None:
        self._folder, self._results = folder, results
        self._storage_url = results.storage_url(storage)

    def __repr__(self) -> str:
        return f"Study({self.name!r}, {str(self._folder.path)!r})"

    @property
    def name(self) -> str:
        """The name of the study."""
        return self._folder.name

    @property
    def path(self) -> Path:
        """The folder of the study."""
        return self._folder.path

    @property
    def config(self) -> StudyConfig:
        """The settings that the study was created with."""
        from tuning.study.study import recorded_config

        return recorded_config(self._folder)

    @property
    def space(self) -> SearchSpace:
        """The search space that the study was created with."""
        from tuning.study.study import recorded_space

        return recorded_space(self._folder)

    @property
    def optuna_study(self) -> optuna.Study:
        """Optuna's own study, for reading. Configurations are queued with `enqueue`, which checks
        them.

        Raises:
            StudyError: the storage does not contain the study.
            StorageError: the storage can't be opened.
        """
        from tuning.study.study import load_study as load

        return load(self._results, self._folder, storage_url=self._storage_url)

    @property
    def confirmation(self) -> Confirmation | None:
        """The confirmation of the best configurations; None before a confirmation."""
        from tuning.confirmation.rounds import Confirmation

        return Confirmation.load(self._folder)

    @property
    def best(self) -> Configuration | None:
        """The best configuration: the confirmed best, else the best of the search; None before a
        trial is complete.
        """
        from tuning.study.summary import best_of

        best = best_of(self._summary(), self.confirmation)
        return None if best is None else configuration_of(best, self.space)

    def trials_dataframe(self) -> pd.DataFrame:
        """Return one row for each trial, with the columns of `trials.csv`."""
        from tuning.report.tables import trials_table

        return trials_table(self._summary())

    def status(self) -> Status:
        """Return the values that `make status` prints, such as counts of trials and seconds."""
        from tuning.study.summary import status_of

        return status_of(self._results, self._folder, storage_url=self._storage_url)[0]

    def verdict(self) -> str:
        """Return sentences about the best configuration and its difference to the baseline."""
        from tuning.report.sentences import verdict

        return verdict(self._summary(), self.confirmation)

    def learning_curves(self) -> go.Figure:
        """Return a figure of the metric after each epoch, with pruned trials."""
        from tuning.report.figures import learning_curves

        return learning_curves(self._summary(), self.confirmation)

    def history(self) -> go.Figure:
        """Return a figure of the value of each trial and of the best value so far."""
        from tuning.report.figures import history

        return history(self.optuna_study, self._summary())

    def _summary(self) -> Summary:
        from tuning.study.summary import read_summary

        return read_summary(self._results, self._folder, storage_url=self._storage_url)

    def _repr_html_(self) -> str:
        """Return the verdict and the trials as HTML for a notebook."""
        from tuning.display.tables import study_html

        return study_html(self.name, self._summary(), self.space, self.confirmation)
