"""The tracker TensorBoard: a folder of event files for the study and for each trial, with HParams.

A file is written whole, so a trial that has a file is not written again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

EVENTS = "events.out.tfevents.keras-text-tuning"
STATUS = {
    "complete": api_pb2.STATUS_SUCCESS,
    "pruned": api_pb2.STATUS_SUCCESS,
    "fail": api_pb2.STATUS_FAILURE,
}


class TensorBoardTracker:
    """A `Tracker` that writes event files below `place`, for `tensorboard --logdir PLACE`."""

    def __init__(self, place: str, study: TrackedStudy) -> None:
        self._folder = Path(place).expanduser() / f"{study.name}-{study.identity}"

    def write_trial(self, trial: TrackedTrial) -> None:
        path = self._folder / f"trial-{trial.number:04d}" / EVENTS
        if not path.exists():
            _write(path, _events(trial), at=trial.started)

    def write_end(self, study: TrackedStudy) -> None:
        texts = {"verdict": study.verdict, "settings": _table(study.settings)}
        card = study.export / CARD if study.export else None
        if card and card.exists():
            texts["export"] = f"{study.exported}, in {study.export}\n\n{card.read_text()}"
        events = [_event(text_pb(name, text), at=study.created) for name, text in texts.items()]
        events += [
            _scalar(name, value, at=study.created, step=0) for name, value in study.numbers.items()
        ]
        _write(self._folder / "study" / EVENTS, events, at=study.created)


def _events(trial: TrackedTrial) -> Iterator[Event]:
    values = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in trial.parameters.items()
    }
    start = hparams_pb(values, trial_id=f"trial {trial.number}", start_time_secs=trial.started)
    yield _event(start, at=trial.started)
    for epoch in trial.epochs:
        for name, value in epoch.metrics.items():
            if name != "epoch":  # The epoch is the step.
                at = trial.started + epoch.seconds
                yield _scalar(name, value, at=at, step=epoch.step)
    last = trial.epochs[-1].step if trial.epochs else 0
    for name, value in trial.numbers.items():
        yield _scalar(f"trial/{name}", value, at=trial.ended, step=last)
    words = _table({"state": trial.state, **trial.words})
    yield _event(text_pb("trial", words), at=trial.ended)
    yield _event(_session_end(trial), at=trial.ended)


def _session_end(trial: TrackedTrial) -> Any:
    """Return the end of a trial for the page HParams."""
    # `session_end_pb` of TensorBoard's HParams imports TensorFlow.
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
    rows = "\n".join(f"| {name} | {escape_markdown(value)} |" for name, value in values.items())
    return f"| name | value |\n|---|---|\n{rows}"


def _write(path: Path, events: Iterable[Event], *, at: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # TensorBoard reads only files whose names have "tfevents".
    temporary = path.with_name("temporary")
    with temporary.open("wb") as file:
        writer = RecordWriter(file)
        for event in (Event(wall_time=at, file_version="brain.Event:2"), *events):
            writer.write(event.SerializeToString())
    temporary.replace(path)
