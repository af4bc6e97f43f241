"""The tracker Weights & Biases, offline: a run of each closed trial and of the study, in one group.

`wandb sync` uploads the folders of the runs. A complete folder is not written again unless its run
has changed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import wandb

from tuning.trackers.contents import TrackedStudy, TrackedTrial

# The file in a run's folder that contains the fingerprint of the run. It is written last.
WRITTEN = "keras-text-tuning.txt"
# Folders of the package, whose defaults are in the user's home.
FOLDERS = {
    "WANDB_CACHE_DIR": "cache",
    "WANDB_DATA_DIR": "data",
    "WANDB_CONFIG_DIR": "config",
    "WANDB_ARTIFACT_DIR": "artifacts",
}


class WandbTracker:
    """A `Tracker` that writes offline runs.

    Args:
        place: the folder in which the folder `wandb` is created.
    """

    def __init__(self, place: str) -> None:
        self._folder = Path(place).absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, folder in FOLDERS.items():
            os.environ.setdefault(name, str(self._folder / "files" / folder))

    def write_study(self, study: TrackedStudy, *, is_last: bool) -> None:
        """Write the run of the study with its export, in the last call only."""
        run_id = _run_id(study, "study")
        if not is_last or self._is_written(run_id, study.fingerprint):
            return
        with self._run(study, run_id, name=study.name, config=study.settings, kind="study") as run:
            run.summary.update({**study.numbers, "verdict": study.verdict})
            run.notes = study.verdict
            if study.export:
                model = wandb.Artifact(
                    name=f"{study.name}-export", type="model", description=study.exported
                )
                model.add_dir(str(study.export))
                run.log_artifact(model)
            if study.confirmation:
                confirmation = wandb.Artifact(name=f"{study.name}-confirmation", type="result")
                confirmation.add_file(str(study.confirmation))
                run.log_artifact(confirmation)
        self._mark(run_id, study.fingerprint)

    def write_trial(self, study: TrackedStudy, trial: TrackedTrial) -> None:
        """Write the run of a trial that has ended."""
        run_id = _run_id(study, f"{trial.number:04d}")
        if trial.is_open or self._is_written(run_id, trial.fingerprint):
            return
        name = f"trial {trial.number}"
        with self._run(study, run_id, name=name, config=trial.parameters, kind="trial") as run:
            for epoch in trial.epochs:
                run.log(epoch.metrics, step=epoch.step)
            words = {"state": trial.state, **trial.words}
            run.summary.update({**trial.numbers, **words})
        self._mark(run_id, trial.fingerprint)

    def close(self) -> None:
        """End the package's process."""
        wandb.teardown()

    def _run(
        self, study: TrackedStudy, run_id: str, *, name: str, config: Any, kind: str
    ) -> wandb.Run:
        """Start a run in a new folder."""
        for folder in self._folders(run_id):
            shutil.rmtree(folder)
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT") or study.name,
            id=run_id,
            name=name,
            group=f"{study.name}-{study.identity}",
            job_type=kind,
            config=dict(config),
            dir=self._folder,
            mode="offline",
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                silent=True,
                save_code=False,
                x_disable_stats=True,
                x_disable_meta=True,
            ),
        )

    def _folders(self, run_id: str) -> list[Path]:
        """Return the folders of a run; empty before the run is written."""
        return sorted(self._folder.glob(f"wandb/offline-run-*-{run_id}"))

    def _is_written(self, run_id: str, fingerprint: str) -> bool:
        marks = [folder / WRITTEN for folder in self._folders(run_id)]
        return any(mark.exists() and mark.read_text() == fingerprint for mark in marks)

    def _mark(self, run_id: str, fingerprint: str) -> None:
        """Write the fingerprint of a complete run."""
        for folder in self._folders(run_id):
            (folder / WRITTEN).write_text(fingerprint)


def _run_id(study: TrackedStudy, name: str) -> str:
    """Return the id of a run, which is the same in every process."""
    return f"{study.name}-{study.identity}-{name}"
