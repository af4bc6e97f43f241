"""A model's outputs as class probabilities, and the predictions that follow from them."""

import numpy as np
import numpy.typing as npt

from tuning.metrics import Array, Labels, WeightedTexts

# The remedy for a model that gives NaN for texts without words.
NAN_REMEDY = (
    "A GlobalAveragePooling1D with a mask, for example, divides by the number of words, which is 0:"
    " compute the mean with mean_over_words(x, is_word(ids)) of tuning.models.words, or remove"
    " these texts from the data."
)


def class_probabilities(outputs: Array, *, n_classes: int) -> Array:
    """Return a model's outputs as probabilities of all classes, float64 (n, n_classes). The outputs
    of several sigmoids stay as they are: they do not sum to 1.

    Args:
        outputs: (n, 1) or (n,), the probability of class 1, for two classes; or (n, n_classes).
        n_classes: the number of classes in the data.

    Raises:
        ValueError: `outputs` has another shape, or contains numbers below 0 or above 1.
    """
    outputs = outputs.reshape(len(outputs), -1).astype(np.float64)
    if outputs.shape[1] == 1 and n_classes == 2:
        outputs = np.hstack([1 - outputs, outputs])
    if outputs.shape[1] != n_classes:
        is_five = n_classes == 2 and outputs.shape[1] == 5
        raise ValueError(
            f"The model must give one probability of class 1 (for two classes) or {n_classes} of"
            f" them; it gives {outputs.shape[1]} numbers a text. End it with Dense(1, 'sigmoid') or"
            f" Dense({n_classes}, 'softmax')."
            + (" --positive-from 0 makes each number of stars a class." if is_five else "")
        )
    finite = outputs[np.isfinite(outputs)]
    if finite.size and (finite.min() < -1e-3 or finite.max() > 1 + 1e-3):
        raise ValueError(
            f"The model must give probabilities; it gives numbers from {finite.min():.3g} to"
            f" {finite.max():.3g}. End it with a sigmoid or softmax."
        )
    return outputs


def is_correct(labels: Labels, probabilities: Array) -> npt.NDArray[np.bool_]:
    """Return whether the class with the highest probability is the label, bool (…, n).

    `probabilities`: (…, n, n_classes).
    """
    correct: npt.NDArray[np.bool_] = probabilities.argmax(axis=-1) == labels
    return correct


def confusion(labels: Labels, probabilities: Array) -> list[list[int]]:
    """Return the number of texts by true class (rows) and predicted class (columns)."""
    texts = WeightedTexts(labels, probabilities, np.ones((1, len(labels))))
    counts: list[list[int]] = texts.confusion[0].astype(int).tolist()
    return counts
