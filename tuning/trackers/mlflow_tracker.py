"""The tracker MLflow: a run of the study, and below it a run of each trial.

Existing runs are found by their tags, so no run is created twice. The export is a model that
`mlflow.pyfunc` loads.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import mlflow
import sqlalchemy
from mlflow.entities import LoggedModelStatus, Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from tuning.trackers import mlflow_model
from tuning.trackers.contents import TrackedStudy, TrackedTrial

# Tags of a run: the study, the number of the trial, and the fingerprint of the written content; and
# the tag of a model: its export.
STUDY, TRIAL, FINGERPRINT, EXPORT = (
    f"keras_text_tuning.{name}" for name in ("study", "trial", "fingerprint", "export")
)
# The characters that MLflow refuses in the names of parameters and metrics.
NOT_IN_NAMES = re.compile(r"[^/\w.\- :]")
MODEL = "best"  # Name of the model of an export.
# Limits of MLflow: entries of a batch, characters of a parameter and of a tag.
N_BATCH, N_PARAMETER, N_TAG = 100, 500, 5000
# For each state of a trial the status of its run. KILLED is MLflow's status of a run that was
# stopped.
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "fail": "FAILED"}

T = TypeVar("T")


class MlflowTracker:
    """A `Tracker` that writes to an MLflow store.

    Args:
        uri: the tracking URI: http://HOST:PORT, sqlite:///FILE, or any other that MLflow takes.
    """

    def __init__(self, uri: str) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._uri = uri
        mlflow.set_tracking_uri(uri)
        self._client = MlflowClient(tracking_uri=uri)
        self._experiment = ""
        self._parent = ""
        self._runs: dict[str, Run] = {}  # Runs of trials by number, as they were at the start.
        self._ids: dict[str, str] = {}
        self._logged: dict[str, set[tuple[str, int]]] = {}  # run → (metric, step)

    def write_study(self, study: TrackedStudy, *, is_last: bool) -> None:
        """Write the run of the study, its confirmation and its export."""
        if not self._parent:
            self._open(study)
        run = self._client.get_run(self._parent)
        if run.data.tags.get(FINGERPRINT) != study.fingerprint:
            self._log(self._parent, params=study.settings)
            now = int(time.time() * 1000)
            self._log(
                self._parent,
                metrics=[Metric(name, value, now, 0) for name, value in study.numbers.items()],
                tags={"mlflow.note.content": study.verdict},
            )
            if study.confirmation:
                self._client.log_artifact(self._parent, str(study.confirmation))
            if study.export and not self._has_export(study):
                self._log_export(study, study.export)
            self._log(self._parent, tags={FINGERPRINT: study.fingerprint})
        self._client.update_run(self._parent, status="FINISHED" if is_last else "RUNNING")

    def write_trial(self, study: TrackedStudy, trial: TrackedTrial) -> None:
        """Write the run of a trial, without the metrics that the run already has."""
        number = str(trial.number)
        known = self._runs.pop(number, None)
        if known is not None:
            self._ids[number] = known.info.run_id
            if known.data.tags.get(FINGERPRINT) == trial.fingerprint:
                return
            self._logged[known.info.run_id] = set(self._steps(known))
        run_id = self._ids.get(number) or self._create(study, trial)
        logged = self._logged.setdefault(run_id, set())
        metrics = [metric for metric in _metrics(trial) if (metric.key, metric.step) not in logged]
        self._log(
            run_id,
            params=_accepted({name: str(value) for name, value in trial.parameters.items()}),
            metrics=metrics,
            tags={"state": trial.state, **trial.words},
        )
        logged |= {(metric.key, metric.step) for metric in metrics}
        if trial.ended is None:
            self._client.update_run(run_id, status="RUNNING")
        else:
            ended = int(trial.ended * 1000)
            self._client.set_terminated(run_id, STATUS[trial.state], end_time=ended)
        self._log(run_id, tags={FINGERPRINT: trial.fingerprint})

    def close(self) -> None:
        """Do nothing: no content is buffered."""

    def _open(self, study: TrackedStudy) -> None:
        """Find the experiment and the runs of the study, or create the experiment and the run."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or study.name
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(name, artifact_location=_artifacts_of(self._uri))
        )
        parent = ""
        for run in self._found(study):
            number = run.data.tags.get(TRIAL)
            if number is None:
                parent = run.info.run_id
            else:
                self._runs[number] = run
        if not parent:
            tags = {"mlflow.runName": study.name, STUDY: _identity(study)}
            created = int(study.created * 1000)
            run = self._client.create_run(self._experiment, start_time=created, tags=tags)
            parent = run.info.run_id
        self._parent = parent

    def _found(self, study: TrackedStudy) -> Iterator[Run]:
        """Yield the runs of the study that exist."""
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                filter_string=f"tags.`{STUDY}` = '{_identity(study)}'",
                max_results=1000,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _steps(self, run: Run) -> Iterator[tuple[str, int]]:
        """Yield each metric and step that an earlier process has written."""
        for name in run.data.metrics:
            for metric in self._client.get_metric_history(run.info.run_id, name):
                yield name, metric.step

    def _create(self, study: TrackedStudy, trial: TrackedTrial) -> str:
        """Create the run of a trial and return its id."""
        tags = {
            "mlflow.runName": f"trial {trial.number}",
            "mlflow.parentRunId": self._parent,
            STUDY: _identity(study),
            TRIAL: str(trial.number),
        }
        started = int(trial.started * 1000)
        run = self._client.create_run(self._experiment, start_time=started, tags=tags)
        self._ids[str(trial.number)] = run.info.run_id
        return str(run.info.run_id)

    def _log(
        self,
        run_id: str,
        *,
        params: dict[str, str] | None = None,
        metrics: list[Metric] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Write parameters, metrics and tags in batches of the size that MLflow accepts."""
        written = [Param(name, value[:N_PARAMETER]) for name, value in (params or {}).items()]
        named = [RunTag(name, value[:N_TAG]) for name, value in (tags or {}).items()]
        for batch in _batches(written):
            self._client.log_batch(run_id, params=batch)
        for batch in _batches(metrics or []):
            self._client.log_batch(run_id, metrics=batch)
        for batch in _batches(named):
            self._client.log_batch(run_id, tags=batch)

    def _has_export(self, study: TrackedStudy) -> bool:
        """Return whether the newest export is a model of the study's run. A model whose writing was
        killed is not ready.
        """
        models = self._client.search_logged_models(
            [self._experiment], filter_string=f"name = '{MODEL}'"
        )
        return any(
            model.source_run_id == self._parent
            and model.tags.get(EXPORT) == study.exported
            and model.status == LoggedModelStatus.READY
            for model in models
        )

    def _log_export(self, study: TrackedStudy, export: Path) -> None:
        """Write an export as a model of the study's run."""
        mlflow.set_experiment(experiment_id=self._experiment)
        with mlflow.start_run(run_id=self._parent):
            mlflow.pyfunc.log_model(
                name=MODEL,
                python_model=mlflow_model.__file__,
                artifacts={"export": str(export)},
                pip_requirements=mlflow_model.requirements(export),
                metadata={"study": study.name, "export": study.exported},
                tags={EXPORT: study.exported},
            )


def _identity(study: TrackedStudy) -> str:
    return f"{study.name} {study.identity}"


def _accepted(values: Mapping[str, T]) -> dict[str, T]:
    """Return values under names that MLflow accepts: other characters become `_`."""
    accepted: dict[str, T] = {}
    for name, value in values.items():
        key = NOT_IN_NAMES.sub("_", name)
        while key in accepted:  # "units[0]" and "units(0)"
            key += "_"
        accepted[key] = value
    return accepted


def _metrics(trial: TrackedTrial) -> Iterator[Metric]:
    """Yield the metrics of each epoch, and the final numbers of the trial with the last step."""
    for epoch in trial.epochs:
        at = int((trial.started + epoch.seconds) * 1000)
        for name, value in _accepted(epoch.metrics).items():
            yield Metric(name, value, at, epoch.step)
    if trial.ended is not None:
        last = trial.epochs[-1].step if trial.epochs else 0
        for name, value in trial.numbers.items():
            yield Metric(name, value, int(trial.ended * 1000), last)


def _batches(entries: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(entries), N_BATCH):
        yield entries[start : start + N_BATCH]


def _artifacts_of(uri: str) -> str | None:
    """Return the folder `mlartifacts` beside an SQLite file. MLflow's default is the working
    directory. None means the default of the store.
    """
    if not uri.startswith("sqlite:"):
        return None
    file = sqlalchemy.make_url(uri).database
    return (Path(file or "").absolute().parent / "mlartifacts").as_uri()
