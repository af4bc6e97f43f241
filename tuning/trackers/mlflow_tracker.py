"""The tracker MLflow: a run of the study, and below it a run of each trial.

Existing runs are found by their tags, so no run is created twice. The export is a folder of
artifacts. Everything is written by a client of its own, which leaves MLflow's tracking URI and the
active run of a notebook as they are.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from mlflow.entities import Metric, Param, RunStatus
from mlflow.tracking import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from tuning.trackers.contents import TrackedStudy, TrackedTrial

# Tags of a run: the study and the number of the trial; and the tag of the study's run with
# its export.
STUDY, TRIAL, EXPORT = (f"keras_text_tuning.{name}" for name in ("study", "trial", "export"))
# The characters that MLflow refuses in the names of parameters and metrics.
NOT_IN_NAMES = re.compile(r"[^/\w.\- :]")
EXPORTED = "best"  # Folder of the export among the artifacts of the study's run.
# Limits of MLflow: entries of a batch, characters of a parameter and of a tag, runs of a search.
N_BATCH, N_PARAMETER, N_TAG, N_RUNS = 100, 500, 5000, 50_000
# Time in which a server must answer the first request of a tracker.
ANSWER_SECONDS = 10
# For each state of a trial the status of its run. KILLED is MLflow's status of a run that was
# stopped.
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "fail": "FAILED"}

T = TypeVar("T")


class MlflowTracker:
    """A `Tracker` that writes to an MLflow store, http://HOST:PORT, sqlite:///FILE or any other."""

    def __init__(self, uri: str, study: TrackedStudy) -> None:
        # Any answer is enough. Without this request, MLflow would try for four minutes to reach a
        # server that does not answer.
        if uri.startswith("http"):
            http_request(
                get_default_host_creds(uri),
                "/health",
                "GET",
                max_retries=0,
                timeout=ANSWER_SECONDS,
                raise_on_status=False,
            )
        self._client = MlflowClient(tracking_uri=uri)
        self._identity = f"{study.name} {study.identity}"
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or study.name
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(name, artifact_location=_artifacts_of(uri))
        )
        found = self._client.search_runs(
            [self._experiment],
            filter_string=f"tags.`{STUDY}` = '{self._identity}'",
            max_results=N_RUNS,
        )
        # The runs of trials by number; the run of the study has no number.
        self._runs = {run.data.tags.get(TRIAL, ""): run for run in found}
        if "" in self._runs:
            self._parent = self._runs[""].info.run_id
            # The earlier call that created the run has ended it.
            self._client.update_run(self._parent, status="RUNNING")
        else:
            self._parent = self._create(study.name, at=study.created)

    def write_trial(self, trial: TrackedTrial) -> None:
        number = str(trial.number)
        if number in self._runs:
            written = self._runs[number].info
            if written.status != "RUNNING":
                return
            self._client.delete_run(written.run_id)  # The earlier writing was cut off.
        tags = {"mlflow.parentRunId": self._parent, TRIAL: number, "state": trial.state}
        run_id = self._create(f"trial {number}", at=trial.started, tags={**trial.words, **tags})
        self._log(run_id, params=_accepted(trial.parameters), metrics=[*_metrics(trial)])
        self._end(run_id, STATUS[trial.state], at=trial.ended)

    def write_end(self, study: TrackedStudy) -> None:
        written, now = self._client.get_run(self._parent).data, int(time.time() * 1000)
        # MLflow keeps each value of a metric, so an unchanged value would become a second point.
        metrics = [
            Metric(name, value, now, 0)
            for name, value in study.numbers.items()
            if written.metrics.get(name) != value
        ]
        self._log(self._parent, params=study.settings, metrics=metrics)
        self._client.set_tag(self._parent, "mlflow.note.content", study.verdict[:N_TAG])
        if study.confirmation:
            self._client.log_artifact(self._parent, str(study.confirmation))
        if study.export and written.tags.get(EXPORT) != study.exported:
            self._client.log_artifacts(self._parent, str(study.export), EXPORTED)
            # The tag is last, so an export whose writing was cut off is written again.
            self._client.set_tag(self._parent, EXPORT, study.exported)
        self._end(self._parent, "FINISHED", at=time.time())

    def _create(self, name: str, *, at: float, tags: Mapping[str, str] | None = None) -> str:
        all_tags = {"mlflow.runName": name, STUDY: self._identity, **(tags or {})}
        run = self._client.create_run(
            self._experiment,
            start_time=int(at * 1000),
            tags={key: value[:N_TAG] for key, value in all_tags.items()},
        )
        return str(run.info.run_id)

    def _log(self, run_id: str, *, params: Mapping[str, Any], metrics: list[Metric]) -> None:
        entries = [Param(name, str(value)[:N_PARAMETER]) for name, value in params.items()]
        for start in range(0, max(len(entries), len(metrics)), N_BATCH):
            batch = slice(start, start + N_BATCH)
            self._client.log_batch(run_id, params=entries[batch], metrics=metrics[batch])

    def _end(self, run_id: str, status: str, *, at: float) -> None:
        # `MlflowClient.set_terminated` would print the URI with its password.
        self._client._tracking_client.store.update_run_info(
            run_id, RunStatus.from_string(status), end_time=int(at * 1000), run_name=None
        )


def _accepted(values: Mapping[str, T]) -> dict[str, T]:
    """Return values under names that MLflow accepts: other characters become `_`."""
    return {NOT_IN_NAMES.sub("_", name): value for name, value in values.items()}


def _metrics(trial: TrackedTrial) -> Iterator[Metric]:
    for epoch in trial.epochs:
        at = int((trial.started + epoch.seconds) * 1000)
        for name, value in _accepted(epoch.metrics).items():
            yield Metric(name, value, at, epoch.step)
    last = trial.epochs[-1].step if trial.epochs else 0
    for name, value in trial.numbers.items():
        yield Metric(name, value, int(trial.ended * 1000), last)


def _artifacts_of(uri: str) -> str | None:
    """Return the folder `mlartifacts` beside an SQLite file; None: the default of the store."""
    # MLflow's own default for an SQLite file is a folder of the working directory.
    if not uri.startswith("sqlite:"):
        return None
    file = sqlalchemy.make_url(uri).database
    return (Path(file or "").absolute().parent / "mlartifacts").as_uri()
