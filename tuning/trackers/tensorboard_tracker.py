"""The tracker TensorBoard: a folder of event files for the study and for each trial, with HParams.

The bytes of a file depend only on its content. New events are appended to an existing file, so a
running TensorBoard shows them, and a file without new events is not changed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from tuning.inference.manifest import CARD
from tuning.text import escape_markdown
from tuning.trackers.contents import TrackedStudy, TrackedTrial

# TensorBoard reads the files whose names have ".tfevents.".
EVENTS = "events.out.tfevents.keras-text-tuning"
STATUS = {
    "complete": api_pb2.STATUS_SUCCESS,
    "pruned": api_pb2.STATUS_SUCCESS,
    "fail": api_pb2.STATUS_FAILURE,
}


class TensorBoardTracker:
    """A `Tracker` that writes event files.

    Args:
        place: the folder that `tensorboard --logdir` is called with.
    """

    def __init__(self, place: str) -> None:
        self._folder = Path(place)

    def write_study(self, study: TrackedStudy, *, is_last: bool) -> None:
        """Write the verdict, the settings and the model card of the export as texts."""
        texts = {"verdict": study.verdict, "settings": _table(study.settings)}
        card = study.export / CARD if study.export else None
        if card and card.exists():
            texts["export"] = f"{study.exported}, in {study.export}\n\n{card.read_text()}"
        events = [_event(text_pb(name, text), at=study.created) for name, text in texts.items()]
        events += [
            _scalar(name, value, at=study.created, step=0) for name, value in study.numbers.items()
        ]
        _write(self._of(study) / "study" / EVENTS, events, at=study.created)

    def write_trial(self, study: TrackedStudy, trial: TrackedTrial) -> None:
        """Write the hyperparameters and the metrics of a trial."""
        path = self._of(study) / f"trial-{trial.number:04d}" / EVENTS
        _write(path, _events(trial), at=trial.started)

    def close(self) -> None:
        """Do nothing: no content is buffered."""

    def _of(self, study: TrackedStudy) -> Path:
        return self._folder / f"{study.name}-{study.identity}"


def _events(trial: TrackedTrial) -> Iterator[Event]:
    """Yield the events of a trial in the order in which they happened."""
    values = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in trial.parameters.items()
    }
    yield _event(_session_start(trial, values), at=trial.started)
    for epoch in trial.epochs:
        for name, value in epoch.metrics.items():
            if name != "epoch":  # The epoch is the step.
                at = trial.started + epoch.seconds
                yield _scalar(name, value, at=at, step=epoch.step)
    if trial.ended is None:
        return
    last = trial.epochs[-1].step if trial.epochs else 0
    for name, value in trial.numbers.items():
        yield _scalar(f"trial/{name}", value, at=trial.ended, step=last)
    words = _table({"state": trial.state, **trial.words})
    yield _event(text_pb("trial", words), at=trial.ended)
    yield _event(_session_end(trial), at=trial.ended)


def _session_start(trial: TrackedTrial, values: dict[str, Any]) -> Any:
    """Return the start of a trial for the page HParams. Maps of protocol buffers have no order, so
    they are serialized again: the same values must give the same bytes.
    """
    summary = hparams_pb(values, trial_id=f"trial {trial.number}", start_time_secs=trial.started)
    for value in summary.value:
        plugin = value.metadata.plugin_data
        content = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
        plugin.content = content.SerializeToString(deterministic=True)
    return summary


def _session_end(trial: TrackedTrial) -> Any:
    """Return the end of a trial for the page HParams. The function of TensorBoard for this event
    imports TensorFlow.
    """
    end = plugin_data_pb2.SessionEndInfo(status=STATUS[trial.state], end_time_secs=trial.ended)
    content = metadata.create_summary_metadata(
        plugin_data_pb2.HParamsPluginData(session_end_info=end)
    )
    summary = Summary()
    summary.value.add(
        tag=metadata.SESSION_END_INFO_TAG, metadata=content, tensor=metadata.NULL_TENSOR
    )
    return summary


def _scalar(name: str, value: float, *, at: float, step: int) -> Event:
    return _event(Summary(value=[Summary.Value(tag=name, simple_value=value)]), at=at, step=step)


def _event(summary: Any, *, at: float, step: int = 0) -> Event:
    return Event(wall_time=at, step=step, summary=summary)


def _table(values: dict[str, str]) -> str:
    """Return names and values as a Markdown table."""
    rows = "\n".join(f"| {name} | {escape_markdown(value)} |" for name, value in values.items())
    return f"| name | value |\n|---|---|\n{rows}"


def _write(path: Path, events: Iterator[Event] | list[Event], *, at: float) -> None:
    """Write an event file: append new events, or replace a file whose beginning differs."""
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in (Event(wall_time=at, file_version="brain.Event:2"), *events):
        writer.write(event.SerializeToString(deterministic=True))
    new = buffer.getvalue()
    old = path.read_bytes() if path.exists() else b""
    if old and new.startswith(old):
        with path.open("ab") as file:
            file.write(new[len(old) :])
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name("temporary")  # TensorBoard does not read files of this name.
    temporary.write_bytes(new)
    temporary.replace(path)
