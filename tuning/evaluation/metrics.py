"""Metrics of a classifier's probabilities, with scikit-learn's definitions."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int64]
# The remedy for a model that gives NaN for texts without words.
NAN_REMEDY = (
    "A GlobalAveragePooling1D with a mask, for example, divides by the number of words, which is 0:"
    " compute the mean with mean_over_words(x, is_word(ids)) of tuning.models.words, or remove"
    " these texts from the data."
)
N_CALIBRATION_BINS = 15  # as Guo et al. (ICML 2017)
CALIBRATION_ERROR = "expected_calibration_error"  # the name of the score


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


def score(labels: Labels, probabilities: Array) -> dict[str, float]:
    """Return the loss (cross-entropy), accuracy, balanced accuracy, F1 and AUC of probabilities (n,
    n_classes), by name.

    For two classes, F1 is the F1 of class 1; for more, the mean over the classes. For more than two
    classes, AUC is the mean over the classes, each against the rest. AUC is NaN if a class has no
    label. Balanced accuracy is the mean recall of the classes that have labels.
    """
    # Imported here because a server, which imports this module, does not need scikit-learn: the
    # import takes 1 s and 60 MB.
    from sklearn.metrics import f1_score, log_loss, recall_score, roc_auc_score

    n_classes = probabilities.shape[1]
    classes = np.arange(n_classes)
    predicted = probabilities.argmax(axis=1)
    # Probabilities in float32 sum to 1 only within 1e-7, and Keras clips at 1e-7 too.
    clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)
    normalized = clipped / clipped.sum(axis=1, keepdims=True)
    complete = len(np.unique(labels)) == n_classes
    auc = float("nan")
    if complete and n_classes == 2:
        auc = float(roc_auc_score(labels, probabilities[:, 1]))
    elif complete:
        auc = float(roc_auc_score(labels, normalized, multi_class="ovr", labels=classes))
    return {
        "loss": float(log_loss(labels, normalized, labels=classes)),
        "accuracy": float(np.mean(predicted == labels)),
        "balanced_accuracy": float(
            recall_score(
                labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
            )
        ),
        "f1": float(
            f1_score(
                labels, predicted, average="binary" if n_classes == 2 else "macro", zero_division=0
            )
        ),
        "auc": auc,
    }


def is_correct(labels: Labels, probabilities: Array) -> npt.NDArray[np.bool_]:
    """Return whether the class with the highest probability is the label, bool (…, n).

    `probabilities`: (…, n, n_classes).
    """
    correct: npt.NDArray[np.bool_] = probabilities.argmax(axis=-1) == labels
    return correct


def confusion(labels: Labels, probabilities: Array) -> list[list[int]]:
    """Return the number of texts by true class (rows) and predicted class (columns)."""
    from sklearn.metrics import confusion_matrix

    classes = np.arange(probabilities.shape[1])
    matrix: list[list[int]] = confusion_matrix(
        labels, probabilities.argmax(axis=1), labels=classes
    ).tolist()
    return matrix


def weighted_scores(
    labels: Labels, probabilities: Array, weights: Array, *, n_bins: int = N_CALIBRATION_BINS
) -> dict[str, Array]:
    """Return the metrics of `score`, F1 of each class (`f1_0`, `f1_1`, …) and the expected
    calibration error, for many weightings of the texts at once.

    A resample of the bootstrap is a weighting: the weight of a text is the number of times that it
    was drawn. The expected calibration error is defined as in Guo et al. (ICML 2017): texts are put
    into bins of equal width by the model's confidence, and the distances between mean confidence
    and accuracy in the bins are averaged, weighted by the bins' shares of texts.

    Args:
        labels: int64 (n,).
        probabilities: (n, n_classes).
        weights: (n_weightings, n), 0 or more.
        n_bins: number of bins of the calibration error.

    Returns:
        An array (n_weightings,) for each metric, NaN where the metric is undefined because a class
        has no weight. The mean F1 of more than two classes leaves out the classes with neither
        texts nor guesses of any weight, as scikit-learn's macro average does; the F1 of two
        classes is 0 without texts and guesses of class 1.
    """
    n_classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    truth, guess = np.eye(n_classes)[labels], np.eye(n_classes)[predicted]
    total = weights.sum(axis=1)
    of_class, guessed, right = weights @ truth, weights @ guess, weights @ (truth * guess)
    clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)
    normalized = clipped / clipped.sum(axis=1, keepdims=True)
    ranked = probabilities if n_classes == 2 else normalized
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / of_class
        f1 = 2 * right / (of_class + guessed)  # NaN where a class has neither texts nor guesses.
        areas = np.stack(
            [_weighted_auc(truth[:, c], ranked[:, c], weights) for c in range(n_classes)], axis=1
        )
    losses = -np.log(normalized[np.arange(len(labels)), labels])
    confidence = probabilities.max(axis=1)
    in_bin = np.eye(n_bins)[calibration_bins(confidence, n_bins=n_bins)]
    gaps = weights @ (in_bin * (confidence - (predicted == labels))[:, None])
    return {
        "loss": weights @ losses / total,
        "accuracy": right.sum(axis=1) / total,
        "balanced_accuracy": np.nanmean(np.where(of_class > 0, recall, np.nan), axis=1),
        "f1": np.nan_to_num(f1[:, 1]) if n_classes == 2 else np.nanmean(f1, axis=1),
        "auc": areas[:, 1] if n_classes == 2 else areas.mean(axis=1),
        CALIBRATION_ERROR: np.abs(gaps).sum(axis=1) / total,
        **{f"f1_{c}": f1[:, c] for c in range(n_classes)},
    }


def calibration_bins(confidence: Array, *, n_bins: int) -> Labels:
    """Return the bin of each confidence, int64 (n,), of `n_bins` bins of equal width over 0 to 1. A
    bin contains its upper bound.
    """
    bins: Labels = np.ceil(confidence * n_bins).astype(np.int64) - 1
    return bins.clip(0, n_bins - 1)


def _weighted_auc(truth: Array, values: Array, weights: Array) -> Array:
    """Return the area under the ROC curve for each row of weights: the share of pairs of a positive
    and a negative text whose values have the right order. Ties count half (Mann and Whitney, 1947).
    """
    order = np.argsort(values, kind="stable")
    _, groups = np.unique(values[order], return_inverse=True)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    positive = np.add.reduceat(weights[:, order] * truth[order], starts, axis=1)
    negative = np.add.reduceat(weights[:, order] * (1 - truth[order]), starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    area: Array = (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))
    return area
