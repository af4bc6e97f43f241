"""The parts that all classifiers share: the last layer, and the loss with the optimizer."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import keras


def head_of(hp: Any) -> dict[str, Any]:
    """Return the arguments of a model builder that the labels decide, from the hyperparameters that
    a search declares: `n_classes`, and `multi_label` where a text has several labels.
    """
    return {"n_classes": hp.get("n_classes"), "multi_label": "multi_label" in hp}


def class_layers(n_classes: int, multi_label: bool = False) -> list[keras.layers.Layer]:
    """Return the last layers of a model: the probability of class 1 for two classes, one
    probability for each class or label, or a number for `n_classes=1`.
    """
    width = output_width(n_classes, multi_label)
    if n_classes == 1:
        return [keras.layers.Dense(width), class_activation(n_classes)]
    return [keras.layers.Dense(width, activation=_activation(n_classes, multi_label))]


def class_activation(n_classes: int, multi_label: bool = False) -> keras.layers.Layer:
    """Return the last of `class_layers` for a model that computes the logits itself. For a number,
    it has the standard deviation and the mean of the training labels as weights, so that the model
    is trained on a scale that does not depend on the unit; a study sets them before a training.
    """
    if n_classes == 1:
        return keras.layers.Dense(1, kernel_initializer="ones", trainable=False)
    return keras.layers.Activation(_activation(n_classes, multi_label))


def output_width(n_classes: int, multi_label: bool = False) -> int:
    return 1 if n_classes == 2 and not multi_label else n_classes


def _activation(n_classes: int, multi_label: bool) -> str:
    return "sigmoid" if n_classes == 2 or multi_label else "softmax"


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


def training_of(hp: Any) -> TrainingOptions:
    """Return the options of which a configuration has a hyperparameter with the option's name."""
    names = [option.name for option in fields(TrainingOptions)]
    return TrainingOptions(**{name: hp.get(name) for name in names if name in hp})


def words_classifier(
    features: Callable[[keras.KerasTensor], keras.KerasTensor],
    *,
    n_classes: int = 2,
    multi_label: bool = False,
    training: TrainingOptions = DEFAULT_TRAINING,
) -> keras.Model:
    """Return a compiled classifier of features of the words, whose input and output are those of
    `lstm_classifier`.

    Args:
        features: a function from token ids, int32 (batch, length), to float32 (batch, n), such as
            `functools.partial(cnn_features, vocab_size=30_000)`.
        n_classes: number of classes or labels; 1 for a number.
        multi_label: whether a text has several labels.
        training: learning rate, label smoothing, weight decay and moving average.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = features(ids)
    for layer in class_layers(n_classes, multi_label):
        x = layer(x)
    model = keras.Model(ids, x)
    return compile_classifier(
        model, n_classes=n_classes, multi_label=multi_label, training=training
    )


def compile_classifier(
    model: keras.Model, *, n_classes: int, multi_label: bool = False, training: TrainingOptions
) -> keras.Model:
    """Compile a model that ends in `class_layers`, and return it.

    The loss of classes takes class numbers. With label smoothing and more than two classes it takes
    one-hot labels, because Keras' loss for class numbers has no label smoothing.
    """
    optimizer = keras.optimizers.Adam(
        training.learning_rate,
        weight_decay=training.weight_decay or None,
        use_ema=training.ema_momentum > 0,
        ema_momentum=training.ema_momentum,
    )
    # Keras' layers give these names to their variables.
    optimizer.exclude_from_weight_decay(var_names=["embeddings", "bias"])
    loss = loss_of(model, n_classes, training.label_smoothing, multi_label=multi_label)
    model.compile(optimizer=optimizer, loss=loss, metrics=[metric_of(n_classes, multi_label)])
    return model


def metric_of(n_classes: int, multi_label: bool = False) -> str:
    if n_classes == 1:
        return "mae"
    return "binary_accuracy" if multi_label else "accuracy"


def loss_of(
    model: keras.Model, n_classes: int, label_smoothing: float = 0.0, *, multi_label: bool = False
) -> Any:
    """Return the squared error for a number, in units of the scale of the model's last layer, else
    the cross-entropy: its name without label smoothing, otherwise Keras' loss object.
    """
    if n_classes == 1:
        return _squared_error(model.layers[-1])
    is_binary = n_classes == 2 or multi_label
    if label_smoothing:
        losses = keras.losses
        loss = losses.BinaryCrossentropy if is_binary else losses.CategoricalCrossentropy
        return loss(label_smoothing=label_smoothing)
    return "binary_crossentropy" if is_binary else "sparse_categorical_crossentropy"


def _squared_error(scale: keras.layers.Layer) -> Any:
    # Gradients of "mse" grow with the square of the unit. For labels with a standard deviation of
    # 0.001 they are smaller than Adam's epsilon, and from 4e9 on their squares are infinite.
    def squared_error(labels: Any, predictions: Any) -> Any:
        deviation = keras.ops.cast(scale.kernel[0, 0], predictions.dtype)
        return keras.losses.mean_squared_error(labels / deviation, predictions / deviation)

    return squared_error
