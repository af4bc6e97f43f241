"""The last layer, the loss and the optimizer of every classifier."""

import keras
import numpy as np
import pytest

from tests.models.classifiers import IDS
from tuning.models import TrainingOptions
from tuning.models.classifier import class_layers, compile_classifier
from tuning.targets.number import Number


def classifier(n_classes: int = 2, **options: float) -> keras.Model:
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 3)(ids))
    model = keras.Model(ids, class_layers(n_classes)[-1](x))
    return compile_classifier(model, n_classes=n_classes, training=TrainingOptions(**options))


@pytest.mark.parametrize(
    ("n_classes", "loss"), [(2, "binary_crossentropy"), (3, "sparse_categorical_crossentropy")]
)
def test_label_smoothing_makes_a_sure_answer_cost_more(n_classes: int, loss: str) -> None:
    assert classifier(n_classes).loss == loss
    labels = np.array([[1.0]]) if n_classes == 2 else np.array([[0.0, 1.0, 0.0]])
    sure = np.array([[0.999]]) if n_classes == 2 else np.array([[0.0005, 0.999, 0.0005]])
    smooth = classifier(n_classes, label_smoothing=0.2).loss
    assert float(smooth(labels, sure)) > 0.5


@pytest.mark.parametrize("unit", [1e-6, 1e11])
def test_numbers_are_learned_in_any_unit(unit: float) -> None:
    numbers = np.array([1.0, 2.0, 5.0, 8.0])

    def learned(unit: float) -> np.ndarray:
        keras.utils.set_random_seed(0)
        ids = keras.Input((None,), dtype="int32")
        x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 3)(ids))
        for layer in class_layers(1):
            x = layer(x)
        options = TrainingOptions(learning_rate=0.1)
        model = compile_classifier(keras.Model(ids, x), n_classes=1, training=options)
        Number().adapt(model, numbers * unit)
        model.fit(IDS, numbers * unit, epochs=5, shuffle=False, verbose=0)
        return np.asarray(model.predict(IDS, verbose=0)) / unit

    np.testing.assert_allclose(learned(unit), learned(1), rtol=1e-4)


def test_weight_decay_spares_embeddings_and_biases() -> None:
    model = classifier(weight_decay=0.1, learning_rate=0.5)
    before = [np.array(weight) for weight in model.trainable_weights]
    model.optimizer.apply([np.zeros_like(weight) for weight in before], model.trainable_weights)
    shares = [np.array(v) / w for v, w in zip(model.trainable_weights[:2], before[:2], strict=True)]
    np.testing.assert_allclose(shares[0], 1)
    np.testing.assert_allclose(shares[1], 1 - 0.1 * 0.5, rtol=1e-6)
    assert not model.optimizer._use_weight_decay(model.layers[-1].bias)


def test_weights_are_averaged_with_a_momentum_alone() -> None:
    plain, averaged = (classifier(ema_momentum=momentum).optimizer for momentum in (0.0, 0.9))
    assert (plain.use_ema, plain.weight_decay) == (False, None)
    assert (averaged.use_ema, averaged.ema_momentum) == (True, 0.9)
