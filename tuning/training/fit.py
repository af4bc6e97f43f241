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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from tuning.config import TrainConfig, exceeded
from tuning.data.corpus import LabelledTexts
from tuning.errors import SpaceBug, StorageError
from tuning.evaluation.metrics import Array, Labels
from tuning.kernels.fuse import fused
from tuning.spaces.loading import build, check_declared, has_own_fit, run_user_code
from tuning.spaces.ranges import Values
from tuning.training import checkpoints
from tuning.training.architecture import ensure_built
from tuning.training.batching import Rows, View, padding_share, training_batches
from tuning.training.callback import (
    Answer,
    Clock,
    Epoch,
    FitResult,
    Infeasible,
    Judge,
    OverLimit,
    Watcher,
)
from tuning.training.prediction import dataset, latency_ms, make_view
from tuning.training.targets import Form, label_form

logger = logging.getLogger(__name__)

STEPS_PER_EXECUTION = (
    32  # Keras' own work between two calls into TensorFlow took 1 to 2 ms a batch, of 6 to 10
)


def fit(
    hypermodel: keras_tuner.HyperModel,
    values: Values,
    *,
    train: LabelledTexts,
    validation: LabelledTexts | None,
    n_classes: int,
    config: TrainConfig,
    seed: int,
    metric: str = "val_accuracy",
    known: tuple[str, ...] = (),
    on_epoch: Callable[[Epoch], Answer] = lambda epoch: True,
    checkpoint: Path | None = None,
    resume: bool = False,
    idle_seconds: float = 0.0,
    limits: Mapping[str, float] | None = None,
    measure_latency: bool = False,
) -> tuple[keras.Model, FitResult]:
    """Train one configuration from scratch, or from the checkpoint that it was paused with.

    The same seed and values give the same metrics in every process of the same threads
    (`keras.utils.set_random_seed`). `on_epoch` is called after each epoch. Without `validation`,
    `config.epochs` epochs are trained and `on_epoch` gets the training metrics. A hypermodel with
    its own `fit` can't be paused, and stops instead: its loop is not ours to enter in the middle.
    `idle_seconds` are those that the process has waited for this training. `limits`: the most that
    `n_parameters` and `latency_ms` may be.

    Raises:
        Infeasible: the loss or a metric is not finite, or memory runs out.
        OverLimit: the model is larger or slower than `limits` allow; nothing is trained.
        SpaceBug: the search space's code raises.
    """
    clock = Clock({"idle": idle_seconds})
    keras.backend.clear_session()
    _return_memory()
    keras.utils.set_random_seed(seed)
    _reset_peak_memory()
    with _infeasible_errors():
        hp, model = build(hypermodel, values, known=known)
        length = int(values["sequence_length"])
        run_user_code(
            lambda: ensure_built(model, sequence_length=length), doing="building the model's layers"
        )
        form = label_form(model, n_classes=n_classes, sequence_length=length)
        result = (
            FitResult.from_dict(checkpoints.load(checkpoint, model))
            if checkpoint and resume
            else FitResult()
        )
        _measure(model, length, result, latency=measure_latency)
        clock.lap("build")
        if exceeded(limits or {}, vars(result)):
            result.seconds = clock.seconds
            raise OverLimit(result)
        seen = _seen_by(model, values, train, form)
        held_out = _seen_by(model, values, validation, form) if validation else None
        batch_size = int(values.get("batch_size", config.batch_size))
        batches = training_batches(seen.view, batch_size=batch_size, seed=seed, epoch=1)
        result.padding_share, result.ignores_padding = (
            padding_share(seen.view, batches),
            seen.view.trims,
        )
        clock.lap("view")
        view = held_out.view if held_out else None
        judge = Judge(
            view=view,
            validation=validation,
            n_classes=n_classes,
            metric=metric,
            patience=config.patience,
            on_epoch=on_epoch,
        )
        watcher = Watcher(model, judge, result, clock)
        with fused(model) as result.n_fused_layers:
            if has_own_fit(hypermodel):
                run_user_code(
                    lambda: _own_fit(hypermodel, hp, model, seen, held_out, watcher, config.epochs),
                    doing="fitting",
                )
                check_declared(hp, known)
            else:
                _keras_fit(
                    model, seen, watcher, batch_size=batch_size, seed=seed, epochs=config.epochs
                )
    clock.lap("train")
    if not result.history:
        raise Infeasible("no epoch", "fit() ended before its first epoch did")
    for phase, seconds in clock.seconds.items():
        result.seconds[phase] = result.seconds.get(phase, 0.0) + seconds
    result.n_tokens = int(seen.view.lengths.sum()) * len(result.history)
    result.peak_memory_mb = max(result.peak_memory_mb, _peak_memory_mb())
    if result.paused:
        result.paused = (
            checkpoint is not None
            and not has_own_fit(hypermodel)
            and _save(checkpoint, watcher.state, result)
        )
    return model, result


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
    return Infeasible("out of memory", (str(error).splitlines() or ["no detail"])[0])


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


@dataclass(frozen=True)
class _Seen:
    """A split as a model sees it; `targets`: a row a text, as its loss takes them."""

    view: View
    targets: Array | Labels


def _seen_by(model: keras.Model, values: Values, split: LabelledTexts, form: Form) -> _Seen:
    return _Seen(make_view(model, values, split.texts), form(split.labels))


def _keras_fit(
    model: keras.Model, seen: _Seen, watcher: Watcher, *, batch_size: int, seed: int, epochs: int
) -> None:
    first = epoch = len(watcher.result.history)

    def batches() -> Iterator[Rows]:
        nonlocal epoch
        epoch += 1
        return iter(training_batches(seen.view, batch_size=batch_size, seed=seed, epoch=epoch))

    n_batches = math.ceil(len(seen.targets) / batch_size)
    data = dataset(batches, seen.view, seen.targets, n_batches=n_batches)
    # Else Keras creates the variables of optimiser and metrics while it traces a step, and must
    # trace it once more: 0.15 s a trial.
    model._symbolic_build(data_batch=(seen.view.batch(np.arange(2)), seen.targets[:2]))
    if model.steps_per_execution == 1 and not model.run_eagerly:
        model.steps_per_execution = STEPS_PER_EXECUTION
        _trace_step(model, data.element_spec)
    watcher.clock.lap("first_step")
    model.fit(
        data, initial_epoch=first, epochs=epochs, shuffle=False, verbose=0, callbacks=[watcher]
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
    hypermodel: keras_tuner.HyperModel,
    hp: Any,
    model: keras.Model,
    seen: _Seen,
    held_out: _Seen | None,
    watcher: Watcher,
    epochs: int,
) -> None:
    """Call the user's `fit` as `keras_tuner.Tuner.search(x, y, validation_data=…,
    epochs=…)` would.
    """
    validation_data = (held_out.view.array(), held_out.targets) if held_out else None
    x, y = seen.view.array(), seen.targets
    hypermodel.fit(
        hp,
        model,
        x,
        y,
        validation_data=validation_data,
        epochs=epochs,
        verbose=0,
        callbacks=[watcher],
    )
