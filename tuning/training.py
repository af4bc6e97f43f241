"""One training: seed, build, fit, evaluate after each epoch.

The objective's value is that of the best epoch; training stops early when `patience` epochs bring nothing better. A training that is
paused goes on later from its checkpoint, to the very metrics of one that never paused.
"""

from __future__ import annotations

import contextlib
import logging
import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from tuning import checkpoints
from tuning.batching import Rows, View, evaluation_batches, padding_share, training_batches
from tuning.config import TrainConfig, sign
from tuning.errors import SpaceBug, StorageError
from tuning.hyperparameters import Values
from tuning.metrics import Array, class_probabilities, confusion, score
from tuning.models.fused import fused
from tuning.spaces import build, check_declared, has_own_fit, run_user_code
from tuning.vocabulary import LabelledTexts, TokenizedTexts

logger = logging.getLogger(__name__)

STEPS_PER_EXECUTION = 32  # Keras' own work between two calls into TensorFlow took 1 to 2 ms a batch, of 6 to 10

Answer = bool | Literal["pause"]  # after an epoch: go on, stop, or stop and save a checkpoint

# Layers whose result for right-padded masked texts does not depend on how much padding there is.
_PADDING_PROOF = (
    keras.layers.InputLayer,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.LSTM,
    keras.layers.GRU,
    keras.layers.Bidirectional,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.Dense,
    keras.layers.Activation,
)


class Infeasible(Exception):
    """A configuration that can't be trained, for a named reason: its trial fails, and the search goes on."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave. `number` counts from 1; `metrics` are by Keras' log names."""

    number: int
    metrics: dict[str, float]
    seconds: float


@dataclass
class FitResult:
    """One training, finished or paused; `best_epoch` is where the objective was best, and `confusion` the matrix there.

    `seconds` are by phase: "build", "view", "first_step" (tracing), "train", "evaluate", and "idle",
    waiting for the coordinator. `n_tokens` counts what was trained on, over all epochs, padding left out.
    """

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = math.nan
    metrics: dict[str, float] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)
    stopped: bool = False
    paused: bool = False
    n_parameters: int = 0
    n_fused_layers: int = 0
    n_tokens: int = 0
    padding_share: float = 0.0
    ignores_padding: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "history": [Epoch(**epoch) for epoch in values["history"]]})


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
) -> tuple[keras.Model, FitResult]:
    """Train one configuration from scratch, or from the checkpoint that it was paused with.

    The same seed and values give the same metrics in every process of the same threads (`keras.utils.set_random_seed`).
    `on_epoch` is called after each epoch. Without `validation`, `config.epochs` epochs are trained and `on_epoch` gets the training
    metrics. A hypermodel with its own `fit` can't be paused, and stops instead: its loop is not ours to enter in the middle.
    `idle_seconds` are those that the process has waited for this training.

    Raises:
        Infeasible: the loss or a metric is not finite, or memory runs out.
        SpaceBug: the search space's code raises.
    """
    clock = _Clock({"idle": idle_seconds})
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    _reset_peak_memory()
    with _infeasible_errors():
        hp, model = build(hypermodel, values, known=known)
        result = FitResult.from_dict(checkpoints.load(checkpoint, model)) if checkpoint and resume else FitResult()
        clock.lap("build")
        views = _views(model, values, train, validation)
        batch_size = int(values.get("batch_size", config.batch_size))
        batches = training_batches(views[0], batch_size=batch_size, seed=seed, epoch=1)
        result.padding_share, result.ignores_padding = padding_share(views[0], batches), views[0].trims
        clock.lap("view")
        judge = _Judge(
            view=views[1], validation=validation, n_classes=n_classes, metric=metric, patience=config.patience, on_epoch=on_epoch
        )
        watcher = _Watcher(model, judge, result, clock)
        with fused(model) as result.n_fused_layers:
            if has_own_fit(hypermodel):
                run_user_code(lambda: _own_fit(hypermodel, hp, model, views, train, validation, watcher, config.epochs), doing="fitting")
                check_declared(hp, known)
            else:
                _keras_fit(model, views[0], train, watcher, batch_size=batch_size, seed=seed, epochs=config.epochs)
    clock.lap("train")
    if not result.history:
        raise Infeasible("no epoch", "fit() ended before its first epoch did")
    for phase, seconds in clock.seconds.items():
        result.seconds[phase] = result.seconds.get(phase, 0.0) + seconds
    result.n_parameters = int(model.count_params())
    result.n_tokens = int(views[0].lengths.sum()) * len(result.history)
    result.peak_memory_mb = max(result.peak_memory_mb, _peak_memory_mb())
    if result.paused:
        result.paused = checkpoint is not None and not has_own_fit(hypermodel) and _save(checkpoint, model, result)
    return model, result


def _save(path: Path, model: keras.Model, result: FitResult) -> bool:
    """Save a checkpoint; a disk without space for it costs the chance to go on, not the study."""
    try:
        checkpoints.save(path, model, result)
    except StorageError as error:
        logger.warning("not paused but stopped: %s", error)
        return False
    return True


def _reset_peak_memory() -> None:
    """Let the kernel count this process's peak from now on, where it can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_mb() -> float:
    """The most memory that this process has held since `_reset_peak_memory`, or since its start where that is not known."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB


@contextlib.contextmanager
def _infeasible_errors() -> Iterator[None]:
    """Turn what says that a configuration can't be trained into `Infeasible`, also where a space's own code met it."""
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


def make_view(model: keras.Model, values: Mapping[str, Any], texts: TokenizedTexts) -> View:
    """Texts as this configuration and model see them."""
    return View(
        texts,
        vocab_size=int(values["vocab_size"]),
        sequence_length=int(values["sequence_length"]),
        truncating=str(values.get("truncating", "pre")),
        trims=ignores_padding(model),
    )


def ignores_padding(model: keras.Model) -> bool:
    """Whether more or less padding after a text changes nothing: it is masked, and only layers that honour the mask follow."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.Embedding)]
    embeddings = [layer for layer in model.layers if isinstance(layer, keras.layers.Embedding)]
    open_length = all(tensor.shape[1] is None for tensor in getattr(model, "inputs", None) or [])
    return (
        open_length
        and len(embeddings) == 1
        and embeddings[0].mask_zero
        and all(type(layer) in _PADDING_PROOF for layer in layers)
        and all(_rnn_is_open(layer) for layer in layers)
    )


def predict(model: keras.Model, view: View, *, n_classes: int) -> Array:
    """Class probabilities of every text of a view, float64 array (n_texts, n_classes), computed in large batches.

    Raises:
        SpaceBug: the model's output is no probability.
    """
    batches = evaluation_batches(view)
    if not batches:
        return np.empty((0, n_classes))
    data = _dataset(lambda: iter(batches), view, None, n_batches=len(batches))
    steps, model.steps_per_execution = model.steps_per_execution, 1  # else as many copies of it in Keras' graph
    try:
        outputs = np.asarray(model.predict(data, verbose=0))
    finally:
        model.steps_per_execution = steps
    probabilities = run_user_code(lambda: class_probabilities(outputs, n_classes=n_classes), doing="reading the model's output")
    ordered = np.empty_like(probabilities)
    ordered[np.concatenate(batches)] = probabilities
    return ordered


def try_fit(hypermodel: keras_tuner.HyperModel, hp: Any, model: keras.Model) -> None:
    """Run a hypermodel's own `fit` for one epoch on 32 rows of zeros and ones, to see what hyperparameters it declares."""
    length = int(hp.get("sequence_length")) if "sequence_length" in hp else 8
    x = np.ones((32, length), dtype=np.int32)
    y = np.arange(32, dtype=np.int64) % 2
    hypermodel.fit(hp, model, x, y, validation_data=(x, y), epochs=1, verbose=0, callbacks=[])


def _rnn_is_open(layer: keras.layers.Layer) -> bool:
    """Recurrent layers that carry a state from batch to batch, or are unrolled, need a fixed length."""
    inner = layer.forward_layer if isinstance(layer, keras.layers.Bidirectional) else layer
    return not getattr(inner, "stateful", False) and not getattr(inner, "unroll", False)


def _views(model: keras.Model, values: Values, train: LabelledTexts, validation: LabelledTexts | None) -> tuple[View, View | None]:
    return make_view(model, values, train.texts), make_view(model, values, validation.texts) if validation else None


def _dataset(batches: Callable[[], Iterator[Rows]], view: View, labels: Any, *, n_batches: int) -> tf.data.Dataset:
    """Batches as a `tf.data.Dataset` of (ids, labels), or ids alone; any width, so that one trace serves all."""

    def generate() -> Iterator[Any]:
        for rows in batches():
            yield view.batch(rows) if labels is None else (view.batch(rows), labels[rows])

    ids = tf.TensorSpec((None, None if view.trims else view.sequence_length), tf.int32)
    signature = ids if labels is None else (ids, tf.TensorSpec((None,), tf.int64))
    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(n_batches)).prefetch(2)


def _keras_fit(model: keras.Model, view: View, train: LabelledTexts, watcher: _Watcher, *, batch_size: int, seed: int, epochs: int) -> None:
    first = epoch = len(watcher.result.history)

    def batches() -> Iterator[Rows]:
        nonlocal epoch
        epoch += 1
        return iter(training_batches(view, batch_size=batch_size, seed=seed, epoch=epoch))

    n_batches = math.ceil(len(train.labels) / batch_size)
    data = _dataset(batches, view, train.labels, n_batches=n_batches)
    # Else Keras creates the variables of optimiser and metrics while it traces a step, and must trace it once more: 0.15 s a trial.
    model._symbolic_build(data_batch=(view.batch(np.arange(2)), train.labels[:2]))
    if model.steps_per_execution == 1 and not model.run_eagerly:
        model.steps_per_execution = STEPS_PER_EXECUTION
        _trace_step(model, data.element_spec)
    watcher.clock.lap("first_step")
    model.fit(data, initial_epoch=first, epochs=epochs, shuffle=False, verbose=0, callbacks=[watcher])


def _trace_step(model: keras.Model, spec: Any) -> None:
    """Trace a training step by a call that has no batches, so that its time is known apart and nothing is trained."""
    empty = tf.data.Dataset.from_generator(lambda: iter(()), output_signature=spec)
    model.make_train_function()
    with contextlib.suppress(StopIteration):
        model.train_function(iter(empty))


def _own_fit(
    hypermodel: keras_tuner.HyperModel,
    hp: Any,
    model: keras.Model,
    views: tuple[View, View | None],
    train: LabelledTexts,
    validation: LabelledTexts | None,
    watcher: _Watcher,
    epochs: int,
) -> None:
    """Call the user's `fit` as `keras_tuner.Tuner.search(x, y, validation_data=…, epochs=…)` would."""
    held_out = (views[1].array(), validation.labels) if views[1] and validation else None
    hypermodel.fit(hp, model, views[0].array(), train.labels, validation_data=held_out, epochs=epochs, verbose=0, callbacks=[watcher])


class _Clock:
    """Seconds by phase."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Count the time since the last lap to a phase."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """What an epoch is judged by."""

    view: View | None
    validation: LabelledTexts | None
    n_classes: int
    metric: str
    patience: int
    on_epoch: Callable[[Epoch], Answer]


class _Watcher(keras.callbacks.Callback):
    """Evaluates after each epoch, keeps the result, and stops the training when it should end."""

    def __init__(self, model: keras.Model, judge: _Judge, result: FitResult, clock: _Clock) -> None:
        super().__init__()
        self.result = result
        self.clock = clock
        self._trained, self._judge = model, judge
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.clock.lap("train")
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(metrics.get("loss", 0.0)):
            raise Infeasible("NaN loss", f"the training loss is {metrics['loss']} in epoch {epoch + 1}")
        matrix: list[list[int]] = []
        if self._judge.view is not None and self._judge.validation is not None:
            probabilities = predict(self._trained, self._judge.view, n_classes=self._judge.n_classes)
            if not np.isfinite(probabilities).all():
                raise Infeasible("NaN loss", f"the model's output is not finite in epoch {epoch + 1}")
            labels = self._judge.validation.labels
            metrics |= {f"val_{name}": value for name, value in score(labels, probabilities).items()}
            matrix = confusion(labels, probabilities)
        self.clock.lap("evaluate")
        now = time.perf_counter()
        self._keep(Epoch(len(self.result.history) + 1, metrics, now - self._started), matrix)
        self.clock.lap("idle")
        self._started = time.perf_counter()

    def _keep(self, epoch: Epoch, matrix: list[list[int]]) -> None:
        result, metric = self.result, self._judge.metric
        result.history.append(epoch)
        value = epoch.metrics.get(metric, float(epoch.number))
        if not math.isfinite(value):
            raise Infeasible("no metric", f"{metric} is {value} in epoch {epoch.number}")
        towards = sign(metric)
        if not result.best_epoch or towards * value > towards * result.best_value:
            result.best_epoch, result.best_value, result.metrics, result.confusion = epoch.number, value, epoch.metrics, matrix
        answer = self._judge.on_epoch(epoch)
        result.paused, result.stopped = answer == "pause", answer is not True
        if result.stopped or epoch.number - result.best_epoch >= self._judge.patience:
            self._trained.stop_training = True
