"""One training: seed, build, fit, evaluate after each epoch.

The objective's value is that of the best epoch; training stops early when `patience` epochs bring
nothing better. A training that is paused goes on later from its checkpoint, to the very metrics of
one that never paused.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from tuning.config import exceeded
from tuning.data.corpus import LabelledTexts
from tuning.documents import structure
from tuning.errors import SpaceBug, StorageError
from tuning.evaluation.metrics import Array, Labels
from tuning.kernels.fuse import fused
from tuning.outcomes import FailureReason
from tuning.spaces.loading import build, check_declared, has_own_fit, run_user_code
from tuning.training import checkpoints
from tuning.training.architecture import ensure_built
from tuning.training.batching import Rows, View, padding_share, training_batches
from tuning.training.callback import EvaluationCallback, Timings, Validation
from tuning.training.prediction import dataset, latency_ms, make_view
from tuning.training.result import (
    Answer,
    Epoch,
    FitResult,
    Infeasible,
    OverLimit,
    TrainingJob,
)
from tuning.training.targets import Form, label_form

logger = logging.getLogger(__name__)

# Keras' own work between two calls into TensorFlow took 1 to 2 ms a batch, of 6 to 10 ms.
STEPS_PER_EXECUTION = 32


def fit(
    hypermodel: keras_tuner.HyperModel,
    job: TrainingJob,
    *,
    train: LabelledTexts,
    validation: LabelledTexts | None,
    on_epoch: Callable[[Epoch], Answer] = lambda epoch: Answer.GO_ON,
    idle_seconds: float = 0.0,
) -> tuple[keras.Model, FitResult]:
    """Train one configuration from its start, or from the checkpoint that it was paused with.

    The same seed and values give the same metrics in every process with as many threads
    (`keras.utils.set_random_seed`). `on_epoch` is called after each epoch; its answer decides
    whether the training goes on. Without `validation`, `job.train.epochs` epochs are trained and
    `on_epoch` gets the training metrics. A hypermodel with its own `fit` can't be paused and stops
    instead, because its loop can't be entered in the middle. `idle_seconds` is the time that the
    process has waited for this training.

    Returns:
        The trained model, and the result.

    Raises:
        Infeasible: the loss or a metric is not finite, or memory runs out.
        OverLimit: the model is larger or slower than `job.limits` allow; nothing is trained.
        SpaceBug: the search space's code raises.
    """
    timings = Timings({"idle": idle_seconds})
    keras.backend.clear_session()
    _return_memory()
    keras.utils.set_random_seed(job.seed)
    _reset_peak_memory()
    with _infeasible_errors():
        built = _build(hypermodel, job)
        model, result = built.model, built.result
        timings.lap("build")
        if exceeded(job.limits, vars(result)):
            result.seconds = timings.seconds
            raise OverLimit(result)
        seen = built.data_of(train)
        held_out = built.data_of(validation) if validation else None
        batches = training_batches(seen.view, batch_size=built.batch_size, seed=job.seed, epoch=1)
        result.padding_share = padding_share(seen.view, batches)
        result.ignores_padding = seen.view.trims
        timings.lap("view")
        evaluated = Validation(
            view=held_out.view if held_out else None,
            texts=validation,
            n_classes=job.n_classes,
            metric=job.metric,
            patience=job.train.patience,
            on_epoch=on_epoch,
        )
        callback = EvaluationCallback(model, evaluated, result, timings)
        with fused(model) as result.n_fused_layers:
            if has_own_fit(hypermodel):
                _own_fit(built, seen, held_out, callback)
            else:
                _keras_fit(built, seen, callback)
    timings.lap("train")
    if not result.history:
        raise Infeasible(FailureReason.NO_EPOCH, "fit() ended before its first epoch did")
    _complete(built, callback, n_tokens=int(seen.view.lengths.sum()) * len(result.history))
    return model, result


def load_trained(hypermodel: keras_tuner.HyperModel, job: TrainingJob) -> keras.Model:
    """Return the model that a training of this job has saved to `job.weights`.

    Raises:
        ValueError: the file is of another model.
        SpaceBug: the search space's code raises.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(job.seed)
    return _build(hypermodel, replace(job, checkpoint=job.weights, resume=True)).model


@dataclass(frozen=True)
class _Data:
    """A split as a model takes it; `targets`: a row for each text, in the form that the loss
    takes.
    """

    view: View
    targets: Array | Labels


@dataclass(frozen=True)
class _Built:
    """A compiled model, with what belongs to its training."""

    hypermodel: keras_tuner.HyperModel
    hp: keras_tuner.HyperParameters
    model: keras.Model
    form: Form
    result: FitResult
    job: TrainingJob

    @property
    def batch_size(self) -> int:
        return int(self.job.values.get("batch_size", self.job.train.batch_size))

    def data_of(self, split: LabelledTexts) -> _Data:
        view = make_view(self.model, self.job.values, split.texts)
        return _Data(view, self.form(split.labels))


def _build(hypermodel: keras_tuner.HyperModel, job: TrainingJob) -> _Built:
    """Build the model of a configuration, as it was at the checkpoint where the job resumes."""
    hp, model = build(hypermodel, job.values, known=job.known)
    length = int(job.values["sequence_length"])
    run_user_code(
        lambda: ensure_built(model, sequence_length=length), doing="building the model's layers"
    )
    form = label_form(model, n_classes=job.n_classes, sequence_length=length)
    result = FitResult()
    if job.checkpoint and job.resume:
        result = structure(checkpoints.load(Path(job.checkpoint), model), FitResult)
    _measure(model, length, result, latency=job.measure_latency)
    return _Built(hypermodel, hp, model, form, result, job)


def _complete(built: _Built, callback: EvaluationCallback, *, n_tokens: int) -> None:
    """Keep what is known when the training has ended, and the checkpoint of a paused one."""
    result, job = built.result, built.job
    for phase, seconds in callback.timings.seconds.items():
        result.seconds[phase] = result.seconds.get(phase, 0.0) + seconds
    result.n_tokens = n_tokens
    result.peak_memory_mb = max(result.peak_memory_mb, _peak_memory_mb())
    if result.paused:
        can_go_on = job.checkpoint is not None and not has_own_fit(built.hypermodel)
        result.paused = can_go_on and _save(Path(job.checkpoint or ""), callback.state, result)


def _measure(model: keras.Model, sequence_length: int, result: FitResult, *, latency: bool) -> None:
    """Keep what a model's architecture decides, before it is trained."""
    result.n_parameters = int(model.count_params())
    if latency and result.latency_ms is None:
        result.latency_ms = run_user_code(
            lambda: latency_ms(model, sequence_length=sequence_length),
            doing="measuring its latency",
        )


def _save(path: Path, state: dict[str, Array], result: FitResult) -> bool:
    """Save a checkpoint; a disk without space for it costs the chance to go on, not the study."""
    try:
        checkpoints.save(path, state, result)
    except StorageError as error:
        logger.warning("not paused but stopped: %s", error)
        return False
    return True


def _return_memory() -> None:
    """Give what the trials before have freed back to the system, where the C library can (glibc):
    it would keep 40 MB of 200 trials.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak_memory() -> None:
    """Let the kernel count this process's peak from now on, where it can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_mb() -> float:
    """The most memory that this process has held since `_reset_peak_memory`, or since its start
    where that is not known.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB


@contextlib.contextmanager
def _infeasible_errors() -> Iterator[None]:
    """Turn what says that a configuration can't be trained into `Infeasible`, also where a space's
    own code met it.
    """
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise _out_of_memory(error) from error
    except SpaceBug as bug:
        if isinstance(bug.__cause__, Infeasible):
            raise bug.__cause__ from None
        if isinstance(bug.__cause__, tf.errors.ResourceExhaustedError):
            raise _out_of_memory(bug.__cause__) from bug
        raise


def _out_of_memory(error: Exception) -> Infeasible:
    return Infeasible(FailureReason.OUT_OF_MEMORY, (str(error).splitlines() or ["no detail"])[0])


def try_fit(hypermodel: keras_tuner.HyperModel, hp: Any, model: keras.Model) -> None:
    """Run a hypermodel's own `fit` for one epoch on 32 rows of ones, to see what hyperparameters it
    declares.
    """
    length = int(hp.get("sequence_length")) if "sequence_length" in hp else 8
    n_classes = int(hp.get("n_classes"))
    ensure_built(model, sequence_length=length)
    x = np.ones((32, length), dtype=np.int32)
    labels = np.arange(32, dtype=np.int64) % n_classes
    y = label_form(model, n_classes=n_classes, sequence_length=length)(labels)
    hypermodel.fit(hp, model, x, y, validation_data=(x, y), epochs=1, verbose=0, callbacks=[])


def _keras_fit(built: _Built, seen: _Data, callback: EvaluationCallback) -> None:
    model, job, batch_size = built.model, built.job, built.batch_size
    first = epoch = len(callback.result.history)

    def batches() -> Iterator[Rows]:
        nonlocal epoch
        epoch += 1
        return iter(training_batches(seen.view, batch_size=batch_size, seed=job.seed, epoch=epoch))

    n_batches = math.ceil(len(seen.targets) / batch_size)
    data = dataset(batches, seen.view, seen.targets, n_batches=n_batches)
    # Without this call Keras creates the variables of the optimizer and the metrics while it
    # traces a step, and must trace the step once more: 0.15 s a trial.
    model._symbolic_build(data_batch=(seen.view.batch(np.arange(2)), seen.targets[:2]))
    if model.steps_per_execution == 1 and not model.run_eagerly:
        model.steps_per_execution = STEPS_PER_EXECUTION
        _trace_step(model, data.element_spec)
    callback.timings.lap("first_step")
    model.fit(
        data,
        initial_epoch=first,
        epochs=job.train.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[callback],
    )


def _trace_step(model: keras.Model, spec: Any) -> None:
    """Trace a training step by a call that has no batches, so that its time is known apart and
    nothing is trained.
    """
    empty = tf.data.Dataset.from_generator(lambda: iter(()), output_signature=spec)
    model.make_train_function()
    with contextlib.suppress(StopIteration):
        model.train_function(iter(empty))


def _own_fit(
    built: _Built, seen: _Data, held_out: _Data | None, callback: EvaluationCallback
) -> None:
    """Call the user's `fit` with the arguments of `keras_tuner.Tuner.search(x, y,
    validation_data=…, epochs=…)`.
    """
    validation_data = (held_out.view.array(), held_out.targets) if held_out else None
    x, y = seen.view.array(), seen.targets
    run_user_code(
        lambda: built.hypermodel.fit(
            built.hp,
            built.model,
            x,
            y,
            validation_data=validation_data,
            epochs=built.job.train.epochs,
            verbose=0,
            callbacks=[callback],
        ),
        doing="fitting",
    )
    check_declared(built.hp, built.job.known)
