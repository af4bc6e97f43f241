"""The weights of texts in the loss: of a column, of classes, and in a hypermodel's own `fit`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from tests.numbered import TWO, numbered
from tests.training.test_fit import VALUES, Hyper, Make, make_texts, mean, stacked
from tuning.config import TrainConfig
from tuning.data.rows import Redraw, Rows
from tuning.errors import SpaceError
from tuning.inputs.contract import LabeledTexts
from tuning.targets.kinds import target_of
from tuning.targets.target import Array
from tuning.training.batching import training_batches
from tuning.training.built_model import build_model
from tuning.training.fit import fit
from tuning.training.folds import fit_folds
from tuning.training.loops import try_fit
from tuning.training.result import Answer, FitResult, TrainingJob

layers = keras.layers
N = 48
WEIGHTS = np.random.default_rng(0).integers(0, 4, N).astype(np.float32)
RARE = np.flatnonzero(np.arange(N) % 6 != 1)  # one text of class 1 in five


def job_of(*, class_weight: str = "", n_classes: int = 2, **changes: Any) -> TrainingJob:
    train = TrainConfig(epochs=2, batch_size=24, patience=9, class_weight=class_weight)
    job = TrainingJob(values=VALUES, target=numbered(n_classes), train=train, seed=0)
    return replace(job, **changes)


def trained(
    hypermodel: Hyper, train: LabeledTexts, *, n_classes: int = 2, **changes: Any
) -> tuple[list[Array], FitResult]:
    """Return the weights of a model after two epochs, and the result."""
    job = job_of(n_classes=n_classes, **changes)
    validation = make_texts(12, n_classes=n_classes, seed=2)
    model, result = fit(hypermodel, job, train=train, validation=validation)
    return model.get_weights(), result


def trained_by_keras(
    hypermodel: Hyper, train: LabeledTexts, weights: Array, *, n_classes: int = 2, **changes: Any
) -> list[Array]:
    """Return the weights of a model that Keras has trained on the same batches."""
    job = job_of(n_classes=n_classes, **changes)
    keras.utils.set_random_seed(job.seed)
    built = build_model(hypermodel, job)
    split = built.encode(train)
    for epoch in (1, 2):
        for rows in training_batches(split.view, batch_size=24, seed=job.seed, epoch=epoch):
            batch = split.view.batch(rows), split.targets[rows], weights[rows]
            built.model.train_on_batch(*batch)
    return built.model.get_weights()


def assert_equal(ours: list[Array], theirs: list[Array], *, atol: float = 1e-6) -> None:
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=atol)


@pytest.mark.parametrize(
    ("n_classes", "make"),
    [
        (2, lambda hp: mean()),
        (3, lambda hp: mean(last=layers.Dense(3, "softmax"), loss="categorical_crossentropy")),
    ],
)
def test_weights_train_as_the_sample_weight_of_keras(n_classes: int, make: Make) -> None:
    hypermodel, train = Hyper(make), make_texts(N, n_classes=n_classes)
    ours, _ = trained(hypermodel, replace(train, weights=WEIGHTS), n_classes=n_classes)
    assert_equal(ours, trained_by_keras(hypermodel, train, WEIGHTS, n_classes=n_classes))
    without, _ = trained(hypermodel, train, n_classes=n_classes)
    assert np.abs(ours[0] - without[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("kind", "metric", "make"),
    [
        ("number", "val_mae", lambda hp: mean(last=layers.Dense(1), loss="mse")),
        ("labels", "val_loss", lambda hp: mean(last=layers.Dense(2, "sigmoid"))),
    ],
)
def test_rows_of_other_kinds_may_have_weights(kind: str, metric: str, make: Make) -> None:
    def of_kind(split: LabeledTexts) -> LabeledTexts:
        columns = np.stack([split.labels, 1 - split.labels], axis=1)
        return replace(split, labels=columns[:, 0] / 2 if kind == "number" else columns)

    changes = {"target": target_of("ab" if kind == "labels" else "", kind), "metric": metric}
    train, job = of_kind(make_texts(N)), job_of(**changes)
    weighted, validation = replace(train, weights=WEIGHTS), of_kind(make_texts(12, seed=2))
    model, _ = fit(Hyper(make), job, train=weighted, validation=validation)
    assert_equal(model.get_weights(), trained_by_keras(Hyper(make), train, WEIGHTS, **changes))


def test_weights_of_a_masked_lstm_with_kernels_train_as_in_keras() -> None:
    """The kernel sorts and packs the texts of a batch."""
    hypermodel = Hyper(lambda hp: stacked(layers.LSTM(4), masked=True, eager=False))
    train = make_texts(N)
    ours, result = trained(hypermodel, replace(train, weights=WEIGHTS))
    assert result.n_fused_layers == 1
    assert_equal(ours, trained_by_keras(hypermodel, train, WEIGHTS), atol=1e-5)


def test_balanced_classes_have_the_weights_of_scikit_learn() -> None:
    train = make_texts(N).rows(RARE)
    assert np.bincount(train.labels).tolist() == [24, 16]
    weights = compute_sample_weight("balanced", train.labels).astype(np.float32)
    ours, _ = trained(Hyper(), train, class_weight="balanced")
    assert_equal(ours, trained_by_keras(Hyper(), train, weights))
    # Weights of texts are multiplied with those of their classes.
    of_texts = replace(train, weights=WEIGHTS[RARE])
    ours, _ = trained(Hyper(), of_texts, class_weight="balanced")
    assert_equal(ours, trained_by_keras(Hyper(), train, weights * WEIGHTS[RARE]))


def test_class_weight_may_be_a_hyperparameter() -> None:
    train = make_texts(N).rows(RARE)

    def weights_of(**changes: Any) -> Array:
        return trained(Hyper(), train, **changes)[0][0]

    balanced, equal = weights_of(class_weight="balanced"), weights_of()
    assert np.abs(balanced - equal).max() > 1e-3
    for value, expected in (("balanced", balanced), ("none", equal), ("other", equal)):
        values = {**VALUES, "class_weight": value}
        np.testing.assert_array_equal(weights_of(values=values), expected)


def test_weighted_metrics_of_a_model_are_weighted_and_its_metrics_are_not() -> None:
    def make(hp: Any) -> keras.Model:
        model = mean()
        model.compile(
            keras.optimizers.SGD(0.0),
            "binary_crossentropy",
            metrics=["accuracy"],
            weighted_metrics=[keras.metrics.BinaryAccuracy(name="weighted")],
            run_eagerly=True,
        )
        return model

    train = make_texts(N)
    weights = np.where(train.labels == 1, 3.0, 1.0).astype(np.float32)
    _, result = trained(Hyper(make), replace(train, weights=weights))
    _, without = trained(Hyper(make), train)
    of_epoch, plain = result.history[0].metrics, without.history[0].metrics
    assert of_epoch["accuracy"] == plain["accuracy"] == plain["weighted"]
    assert of_epoch["weighted"] != plain["weighted"]
    assert {n: v for n, v in of_epoch.items() if n.startswith("val_")} == {
        n: v for n, v in plain.items() if n.startswith("val_")
    }


def test_validation_is_not_weighted() -> None:
    train, validation = make_texts(N), make_texts(12, seed=2)
    histories = []
    for weights in (None, np.arange(12, dtype=np.float32)):
        split = replace(validation, weights=weights)
        histories.append(fit(Hyper(), job_of(), train=train, validation=split)[1])
    assert histories[0].metrics == histories[1].metrics


def test_weights_follow_their_texts_into_folds_and_joined_splits() -> None:
    """The weight of a text is the number of its tokens."""
    train, validation = (
        replace(split, weights=split.texts.lengths.astype(np.float32))
        for split in (make_texts(N), make_texts(12, seed=2))
    )
    seen: list[tuple[Array, Array]] = []

    class Watched(Hyper):
        def adapt(self, hp: Any, model: Any, x: Any, y: Any, sample_weight: Any) -> None:
            batches = [np.count_nonzero(batch, axis=1) for batch in x.as_numpy_iterator()]
            seen.append((np.concatenate(batches), sample_weight))

    hypermodel = Watched()
    values = {**VALUES, "sequence_length": 12}
    texts = np.arange(N + 12)
    rows = Rows(texts=texts, strata=np.concatenate([train.labels, validation.labels]))
    job = job_of(values=values, redraw=Redraw(seed=0, n_folds=2))
    fit_folds(
        hypermodel,
        job,
        train=train,
        validation=validation,
        rows=rows,
        on_epoch=lambda _: Answer.GO_ON,
    )
    fit(hypermodel, job_of(values=values), train=train + validation, validation=None)
    assert [len(weights) for _, weights in seen] == [30, 30, N + 12]
    for lengths, weights in seen:
        np.testing.assert_array_equal(lengths, weights)
    assert (train + make_texts(12)).weights is None


# A hypermodel's own fit


def pass_on(hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
    return model.fit(*args, batch_size=24, shuffle=False, **kwargs)


def name_it(hp: Any, model: keras.Model, x: Any, y: Any, sample_weight: Any, **kwargs: Any) -> Any:
    options = {"batch_size": 24, "shuffle": False, "sample_weight": sample_weight}
    return model.fit(x, y, **options, **kwargs)


def by_hand(hp: Any, model: keras.Model, x: Any, y: Any, **kwargs: Any) -> Any:
    weights = np.where(y[:, 0] == 1, 3.0, 1.0)
    return pass_on(hp, model, x, y, **{"sample_weight": weights, **kwargs})


def of_classes(hp: Any, model: keras.Model, x: Any, y: Any, **kwargs: Any) -> Any:
    return pass_on(hp, model, x, y, class_weight={0: 1.0, 1: 3.0}, **kwargs)


def drops_it(hp: Any, model: keras.Model, x: Any, y: Any, callbacks: Any, **kwargs: Any) -> Any:
    return model.fit(x, y, callbacks=callbacks, epochs=kwargs["epochs"])


def own_loop(hp: Any, model: keras.Model, x: Any, y: Any, callbacks: Any, **kwargs: Any) -> None:
    for epoch in range(kwargs["epochs"]):
        model.train_on_batch(x, y)
        callbacks[0].on_epoch_end(epoch)


def of_another(hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
    return pass_on(hp, mean(), *args, **kwargs)


@pytest.mark.parametrize("fit", [pass_on, name_it])
def test_own_fit_gets_the_weights_of_the_study(fit: Callable[..., Any]) -> None:
    train = make_texts(N)
    ours, _ = trained(Hyper(fit=fit), train, class_weight="1:3")
    theirs, _ = trained(Hyper(fit=of_classes), train)
    assert_equal(ours, theirs)
    if fit is pass_on:
        without, _ = trained(Hyper(fit=fit), train)
        assert np.abs(ours[0] - without[0]).max() > 1e-3


@pytest.mark.parametrize("fit", [of_classes, by_hand])
def test_weights_of_an_own_fit_count(fit: Callable[..., Any]) -> None:
    train = make_texts(N)
    values = {**VALUES, "class_weight": "balanced"}  # The own fit reads it, or does not.
    ours, _ = trained(Hyper(fit=fit), train.rows(RARE), values=values)
    weights = np.where(train.labels == 1, 3.0, 1.0).astype(np.float32)
    of_texts = replace(train, weights=weights).rows(RARE)
    theirs, _ = trained(Hyper(fit=pass_on), of_texts)
    assert_equal(ours, theirs)


@pytest.mark.parametrize(
    ("fit", "says"),
    [
        (of_classes, "fit\\(\\) gives model.fit a class_weight of its own"),
        (drops_it, "fit\\(\\) must use the weights"),
        (own_loop, "fit\\(\\) must use the weights"),
        (of_another, "fit\\(\\) must train the model that it gets"),
        (lambda hp, model, x, y, callbacks, validation_data, epochs: None, "'sample_weight'"),
    ],
)
def test_own_fit_that_can_not_use_the_weights_is_refused(
    fit: Callable[..., Any], says: str
) -> None:
    with pytest.raises(SpaceError, match=says):
        trained(Hyper(fit=fit), make_texts(N), class_weight="balanced")
    hp = keras_tuner.HyperParameters()
    for name, value in VALUES.items():
        hp.Fixed(name, value)
    hypermodel = Hyper(fit=fit)
    with pytest.raises(SpaceError, match=says):
        try_fit(
            hypermodel, hp, hypermodel.build(hp), target=TWO, sequence_length=8, is_weighted=True
        )
