"""The tracker Weights & Biases, offline: a run of each trial and of the study, in one group.

`wandb sync` uploads the folders of the runs. The complete folder of a trial is not written again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from tuning.trackers.contents import TrackedStudy, TrackedTrial

# The file in a run's folder that is written when the run is complete.
WRITTEN = "keras-text-tuning.txt"


class WandbTracker:
    """A `Tracker` that writes offline runs into the folder `wandb` in `place`."""

    def __init__(self, place: str, study: TrackedStudy) -> None:
        self._study, self._folder = study, Path(place).expanduser().absolute()
        self._folder.mkdir(parents=True, exist_ok=True)

    def write_trial(self, trial: TrackedTrial) -> None:
        run_id = self._run_id(f"{trial.number:04d}")
        if any((folder / WRITTEN).exists() for folder in self._folders(run_id)):
            return
        name = f"trial {trial.number}"
        with self._run(run_id, name=name, config=trial.parameters, kind="trial") as run:
            for epoch in trial.epochs:
                run.log(epoch.metrics, step=epoch.step)
            run.summary.update({**trial.numbers, "state": trial.state, **trial.words})
        # The end of the block has closed the run, so its files are complete.
        for folder in self._folders(run_id):
            (folder / WRITTEN).touch()

    def write_end(self, study: TrackedStudy) -> None:
        run_id = self._run_id("study")
        with self._run(run_id, name=study.name, config=study.settings, kind="study") as run:
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

    def _run(self, run_id: str, *, name: str, config: Mapping[str, Any], kind: str) -> wandb.Run:
        """Start a run in a new folder."""
        # The folders are those of a writing that was cut off, or of an earlier state of the study.
        for folder in self._folders(run_id):
            shutil.rmtree(folder)
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT") or self._study.name,
            id=run_id,
            name=name,
            group=f"{self._study.name}-{self._study.identity}",
            job_type=kind,
            config=dict(config),
            dir=self._folder,
            mode="offline",
            resume="allow",
            reinit="create_new",  # A run of the user's own stays active.
            settings=wandb.Settings(
                console="off",
                silent=True,
                # A run would have the code, the machine and the Git state of this call, which need
                # not be those of the trial.
                save_code=False,
                disable_git=True,
                x_disable_stats=True,
                x_disable_meta=True,
            ),
        )

    def _run_id(self, name: str) -> str:
        return f"{self._study.name}-{self._study.identity}-{name}"

    def _folders(self, run_id: str) -> list[Path]:
        return sorted(self._folder.glob(f"wandb/offline-run-*-{run_id}"))
