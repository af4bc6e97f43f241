"""The model of one configuration: built by the search space, measured, and at its checkpoint if the
training is resumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import keras_tuner

from tuning.data.corpus import LabeledTexts
from tuning.documents import structure
from tuning.evaluation.metrics import Array, Labels
from tuning.spaces.loading import build, run_user_code
from tuning.training import checkpoints
from tuning.training.architecture import ensure_built
from tuning.training.batching import View
from tuning.training.prediction import latency_ms, make_view
from tuning.training.result import FitResult, TrainingJob
from tuning.training.targets import LabelEncoder, label_encoder


@dataclass(frozen=True)
class EncodedSplit:
    """A split as a model takes it. `targets` has one row for each text, in the encoding that the
    loss takes.
    """

    view: View
    targets: Array | Labels


@dataclass(frozen=True, kw_only=True)
class BuiltModel:
    """A compiled model with the objects that its training needs."""

    hypermodel: keras_tuner.HyperModel
    hp: keras_tuner.HyperParameters
    model: keras.Model
    encode_labels: LabelEncoder
    job: TrainingJob
    result: FitResult

    @property
    def batch_size(self) -> int:
        """The batch size of the configuration, or of the study if it is not searched."""
        return int(self.job.values.get("batch_size", self.job.train.batch_size))

    def encode(self, split: LabeledTexts) -> EncodedSplit:
        """Return a split as the model takes it."""
        view = make_view(self.model, self.job.values, split.texts)
        return EncodedSplit(view, self.encode_labels(split.labels))


def build_model(hypermodel: keras_tuner.HyperModel, job: TrainingJob) -> BuiltModel:
    """Return the model of a job's configuration. If the job resumes, the model's state and the
    result so far are read from the checkpoint.

    Raises:
        SpaceBug: the search space's code raises.
        ValueError: the checkpoint is of another model.
    """
    hp, model = build(hypermodel, job.values, known=job.known)
    length = int(job.values["sequence_length"])
    run_user_code(
        lambda: ensure_built(model, sequence_length=length), doing="building the model's layers"
    )
    encoder = label_encoder(model, n_classes=job.n_classes, sequence_length=length)
    result = FitResult()
    if job.checkpoint and job.resume:
        result = structure(checkpoints.load(Path(job.checkpoint), model), FitResult)
    result.n_parameters = int(model.count_params())
    if job.measure_latency and result.latency_ms is None:
        result.latency_ms = run_user_code(
            lambda: latency_ms(model, sequence_length=length), doing="measuring its latency"
        )
    return BuiltModel(
        hypermodel=hypermodel,
        hp=hp,
        model=model,
        encode_labels=encoder,
        job=job,
        result=result,
    )
