"""The parts that all classifiers share: the last layer, and the loss with the optimizer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras


def class_layer(n_classes: int) -> keras.layers.Dense:
    """Return the last layer of a classifier: the probability of class 1 for two classes, or one
    probability for each class.
    """
    if n_classes == 2:
        return keras.layers.Dense(1, activation="sigmoid")
    return keras.layers.Dense(n_classes, activation="softmax")


def class_activation(n_classes: int) -> keras.layers.Activation:
    """Return the activation of `class_layer`, for a model that computes the logits itself."""
    return keras.layers.Activation("sigmoid" if n_classes == 2 else "softmax")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options of a classifier's training. Every option except the learning rate is off at 0.

    Args:
        learning_rate: the learning rate of Adam.
        label_smoothing: share of each label that is spread evenly over all classes.
        weight_decay: share of each weight that is subtracted in a step, times the learning rate
            (Loshchilov and Hutter 2019). Embeddings and biases do not decay.
        ema_momentum: momentum of the moving average of the weights. The averages replace the
            weights at the end of the training.
    """

    learning_rate: float = 1e-3
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    ema_momentum: float = 0.0


DEFAULT_TRAINING = TrainingOptions()


def words_classifier(
    features: Callable[[keras.KerasTensor], keras.KerasTensor],
    *,
    n_classes: int = 2,
    training: TrainingOptions = DEFAULT_TRAINING,
) -> keras.Model:
    """Return a compiled classifier of features of the words, whose input and output are those of
    `lstm_classifier`.

    Args:
        features: a function from token ids, int32 (batch, length), to float32 (batch, n), such as
            `functools.partial(cnn_features, vocab_size=30_000)`.
        n_classes: number of classes.
        training: learning rate, label smoothing, weight decay and moving average.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    model = keras.Model(ids, class_layer(n_classes)(features(ids)))
    return compile_classifier(model, n_classes=n_classes, training=training)


def compile_classifier(
    model: keras.Model, *, n_classes: int, training: TrainingOptions
) -> keras.Model:
    """Compile a model that ends in `class_layer`, and return it.

    The loss takes class numbers. With label smoothing and more than two classes it takes one-hot
    labels, because Keras' loss for class numbers has no label smoothing.
    """
    optimizer = keras.optimizers.Adam(
        training.learning_rate,
        weight_decay=training.weight_decay or None,
        use_ema=training.ema_momentum > 0,
        ema_momentum=training.ema_momentum,
    )
    # Keras' layers give these names to their variables.
    optimizer.exclude_from_weight_decay(var_names=["embeddings", "bias"])
    loss = loss_of(n_classes, training.label_smoothing)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


def loss_of(n_classes: int, label_smoothing: float = 0.0) -> Any:
    """Return the cross-entropy: its name without label smoothing, otherwise Keras' loss object."""
    if n_classes == 2:
        return (
            keras.losses.BinaryCrossentropy(label_smoothing=label_smoothing)
            if label_smoothing
            else "binary_crossentropy"
        )
    return (
        keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)
        if label_smoothing
        else "sparse_categorical_crossentropy"
    )
