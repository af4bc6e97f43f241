"""The linear model with which a search is compared: its scores on the validation split, or the
means over the study's folds, and its settings, stored beside the corpus, and the process in which
it is trained while the search runs.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tuning import documents
from tuning.config import StudyConfig
from tuning.data.rows import Redraw
from tuning.documents import OMIT_DEFAULT
from tuning.errors import StorageError
from tuning.metrics import METRICS, is_ahead, metric_of, metric_text, objectives_of
from tuning.processes import child_environment, why_it_ended
from tuning.targets.target import Target

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinearTask:
    """The objective by which the linear models of a study's data are tuned, which is "" for the
    first of the kind of target, their `TrainConfig.class_weight`, and the study's folds.
    """

    metric: str = ""
    class_weight: str = ""
    folds: Redraw | None = None

    @classmethod
    def of(cls, config: StudyConfig) -> LinearTask:
        is_first = config.metric == objectives_of(config.data.kind)[0]
        return cls(
            "" if is_first else config.metric,
            config.train.class_weight,
            Redraw.into_folds(seed=config.seed, n_folds=config.train.n_folds),
        )

    def objective(self, target: Target) -> str:
        return self.metric or target.metrics[0].objective

    def path(self, folder: Path) -> Path:
        # A file name can't have all characters that names of classes may have.
        classes = hashlib.sha256(self.class_weight.encode()).hexdigest()[:8]
        is_weighted = (folder / "train.weights.npy").exists()
        folds = f"{self.folds.n_folds}_folds_{self.folds.seed}" if self.folds else ""
        parts = [self.metric, self.class_weight and classes, "weighted" * is_weighted, folds]
        return folder / ("_".join(["linear_reference", *filter(None, parts)]) + ".json")


class Weighting(StrEnum):
    RATIOS = "naive Bayes log-count ratios"
    RARITY = "inverse document frequencies"


@dataclass(frozen=True)
class NgramSettings:
    """The tuned settings: the longest n-grams in words, their weights, and C of the regression."""

    order: int
    weighting: Weighting
    strength: float


@dataclass(frozen=True, kw_only=True)
class LinearReference:
    """A linear model that was trained on the training split, its scores on the validation split by
    name, or their means over folds, where None is not defined, and the seconds of its tuning. An
    export trains it with its `settings` on train + validation; a file of an earlier version has
    none.
    """

    name: str = field(default="logistic regression", metadata=OMIT_DEFAULT)
    about: str
    scores: dict[str, float | None]
    seconds: float
    settings: NgramSettings | None = None

    @property
    def is_usable(self) -> bool:
        """Whether an export can use the model: it has settings and a score."""
        return self.settings is not None and any(
            value is not None for value in self.scores.values()
        )

    def value(self, metric: str) -> float | None:
        return self.scores.get(metric_of(metric).name)

    def sentence(self, metric: str) -> str:
        known = {name: value for name, value in self.scores.items() if value is not None}
        name = metric_of(metric).name
        if name not in known:  # AUC is not defined where a class has no validation text.
            name = next(iter(known))
        return (
            f"A linear model ({self.name} on {self.about}) has a validation"
            f" {METRICS[name].label} of {metric_text(known[name])}: the bar for this search."
        )

    def is_ahead_of(self, value: float, metric: str) -> bool:
        own = self.value(metric)
        return own is not None and is_ahead(own, value, metric)


def read_linear_reference(folder: Path, task: LinearTask) -> LinearReference | None:
    """Return the stored model of a corpus; None if the file is missing or can't be read."""
    path = task.path(folder)
    if not path.exists():
        return None
    try:
        return documents.read(
            path, LinearReference, error=StorageError, remedy="The next search replaces it."
        )
    except StorageError as error:
        logger.warning("%s", error)
        return None


class BackgroundFit:
    """The training of a corpus' linear model in a child process."""

    def __init__(self, task: LinearTask = LinearTask()) -> None:
        self.task = task
        self.reference: LinearReference | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._is_new = False

    def start(self, folder: Path, *, niceness: int = 0) -> None:
        """Read the stored model of the corpus in `folder`, or start the process. Further calls do
        nothing.
        """
        if self._folder is not None:
            return
        self._folder = folder
        if self._read():
            return
        module = "tuning.evaluation.ngram_model"
        folds = self.task.folds or Redraw(seed=0)
        arguments = [str(folder), str(niceness), self.task.metric, self.task.class_weight]
        arguments += [str(folds.seed), str(folds.n_folds)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                # The process ends with this pipe, so it does not outlive a killed coordinator.
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # One thread, because the workers of the search need the cores.
                env=child_environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"),
            )
        except OSError as error:  # too many processes, or no memory
            logger.warning("the linear model is not trained: %s", error)

    def poll(self) -> LinearReference | None:
        """Return the scores once, as soon as they are known; else None. A failure is logged."""
        if self._process and self._process.poll() is not None:
            status, (_, errors) = self._process.returncode, self._process.communicate()
            self._process = None
            if not self._read():
                logger.warning("the linear model is not trained: %s", why_it_ended(status, errors))
        is_new, self._is_new = self._is_new, False
        return self.reference if is_new else None

    @property
    def is_running(self) -> bool:
        """Whether the process runs, or its end was not polled yet."""
        return self._process is not None

    def _read(self) -> bool:
        stored = read_linear_reference(self._folder, self.task) if self._folder else None
        # A file of an earlier version has no settings, and the process replaces it.
        self.reference = stored if stored and stored.is_usable else None
        self._is_new = self.reference is not None
        return self._is_new

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()  # A process that nobody waits for stays a zombie.
            self._process = None
