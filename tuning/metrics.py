"""Validation and test metrics from probabilities; scikit-learn's definitions."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, f1_score, log_loss, recall_score, roc_auc_score

Array = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int64]


def class_probabilities(outputs: Array, *, n_classes: int) -> Array:
    """A model's outputs as one column a class.

    Args:
        outputs: (n, 1) or (n,), the probability of class 1 of two; or (n, n_classes).

    Raises:
        ValueError: another shape, or numbers that are no probabilities.
    """
    outputs = outputs.reshape(len(outputs), -1).astype(np.float64)
    if outputs.shape[1] == 1 and n_classes == 2:
        outputs = np.hstack([1 - outputs, outputs])
    if outputs.shape[1] != n_classes:
        raise ValueError(
            f"The model must give one probability of class 1 (for two classes) or {n_classes} of them; "
            f"it gives {outputs.shape[1]} numbers a text. End it with Dense(1, 'sigmoid') or Dense({n_classes}, 'softmax')."
        )
    finite = outputs[np.isfinite(outputs)]
    if finite.size and (finite.min() < -1e-3 or finite.max() > 1 + 1e-3):
        raise ValueError(
            f"The model must give probabilities; it gives numbers from {finite.min():.3g} to {finite.max():.3g}. "
            "End it with a sigmoid or softmax."
        )
    return outputs


def score(labels: Labels, probabilities: Array) -> dict[str, float]:
    """Loss (cross-entropy), accuracy, balanced accuracy, F1 and AUC.

    F1 is that of class 1 for two classes, the macro mean for more; AUC is one against the rest for more than two, and NaN where
    the labels lack a class. Balanced accuracy is the mean recall of the classes that the labels hold.
    """
    n_classes = probabilities.shape[1]
    classes = np.arange(n_classes)
    predicted = probabilities.argmax(axis=1)
    # float32 outputs sum to 1 within 1e-7 only; Keras clips at the same 1e-7
    clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)
    normalised = clipped / clipped.sum(axis=1, keepdims=True)
    complete = len(np.unique(labels)) == n_classes
    auc = float("nan")
    if complete and n_classes == 2:
        auc = float(roc_auc_score(labels, probabilities[:, 1]))
    elif complete:
        auc = float(roc_auc_score(labels, normalised, multi_class="ovr", labels=classes))
    return {
        "loss": float(log_loss(labels, normalised, labels=classes)),
        "accuracy": float(np.mean(predicted == labels)),
        "balanced_accuracy": float(recall_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)),
        "f1": float(f1_score(labels, predicted, average="binary" if n_classes == 2 else "macro", zero_division=0)),
        "auc": auc,
    }


def confusion(labels: Labels, probabilities: Array) -> list[list[int]]:
    """Counts by true class (rows) and predicted class (columns)."""
    classes = np.arange(probabilities.shape[1])
    matrix: list[list[int]] = confusion_matrix(labels, probabilities.argmax(axis=1), labels=classes).tolist()
    return matrix
