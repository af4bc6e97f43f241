"""N-grams weighted by how unequally the classes use them: a linear model as a Keras graph.

The source is Wang and Manning (2012), "Baselines and Bigrams: Simple, Good Sentiment and Topic
Classification". In the source, the weight of an n-gram is a trained factor times its log-count
ratio.
"""

from collections.abc import Iterable

import keras
import numpy as np
import numpy.typing as npt

from tuning.models.classifier import TrainingOptions, class_activation, compile_classifier

RATIOS = "log_count_ratios"
# With a learning rate of 0.001 the model is not trained after five epochs.
DEFAULT_NGRAM_TRAINING = TrainingOptions(learning_rate=5e-3)


def ngram_logits(
    ngrams: keras.KerasTensor,
    *,
    vocab_size: int,
    n_outputs: int,
    dropout: float = 0.0,
    rate: float = 1.0,
) -> keras.KerasTensor:
    """Return the sum of the weights of a text's n-grams over the square root of their number.

    The weight of an n-gram is its log-count ratio, which `fit_ratios` sets and which starts at 1,
    times 1 + `rate` × a trained number, which starts at 0.

    Args:
        ngrams: int32 ids of the distinct n-grams of each text, (batch, n); 0 is padding.
        vocab_size: number of ids, padding and unknown included.
        n_outputs: 1 for two classes, else the number of classes.
        dropout: share of a text's n-grams that are left out in training.
        rate: how many times faster than at the optimizer's learning rate the weights are trained.

    Returns:
        float32 tensor of shape (batch, n_outputs).
    """
    ops = keras.ops
    ratios = keras.layers.Embedding(
        vocab_size, n_outputs, embeddings_initializer="ones", trainable=False, name=RATIOS
    )(ngrams)
    trained = keras.layers.Embedding(
        vocab_size, n_outputs, embeddings_initializer="zeros", name="ngram_weights"
    )(ngrams)
    present = ops.expand_dims(ops.cast(ops.not_equal(ngrams, 0), "float32"), -1)
    number = ops.maximum(ops.sum(present, axis=1), 1.0)
    if dropout:
        present = keras.layers.Dropout(dropout, name="ngram_dropout")(present)
    start = ops.sum(ops.multiply(ratios, present), axis=1)
    change = ops.sum(ops.multiply(ops.multiply(ratios, present), trained), axis=1)
    return ops.divide(ops.add(start, ops.multiply(change, rate)), ops.sqrt(number))


def scaled(logits: keras.KerasTensor) -> keras.KerasTensor:
    """Return the logits times trained numbers that start at 1, plus a bias, (batch, n_outputs)."""
    return keras.layers.Dense(logits.shape[-1], kernel_initializer="identity", name="ngram_logits")(
        logits
    )


def ngram_classifier(
    *,
    vocab_size: int,
    dropout: float = 0.0,
    n_classes: int = 2,
    training: TrainingOptions = DEFAULT_NGRAM_TRAINING,
) -> keras.Model:
    """Return a compiled classifier of n-grams.

    The model's input "ngrams" is int32 ids (batch, n) of the distinct n-grams of each text, 0 for
    padding. Its output is that of `lstm_classifier`.

    Args:
        vocab_size: number of n-gram ids, padding and unknown included.
        dropout: share of a text's n-grams that are left out in training.
        n_classes: number of classes.
        training: learning rate, label smoothing, weight decay and moving average.
    """
    ngrams = keras.Input((None,), dtype="int32", name="ngrams")
    n_outputs = 1 if n_classes == 2 else n_classes
    logits = ngram_logits(ngrams, vocab_size=vocab_size, n_outputs=n_outputs, dropout=dropout)
    model = keras.Model(ngrams, class_activation(n_classes)(scaled(logits)), name="ngrams")
    return compile_classifier(model, n_classes=n_classes, training=training)


def fit_ratios(
    model: keras.Model,
    batches: Iterable[npt.NDArray[np.int32] | dict[str, npt.NDArray[np.int32]]],
    labels: npt.NDArray[np.int64],
    *,
    n_classes: int = 2,
) -> None:
    """Set the log-count ratios of a model that has `ngram_logits`.

    The ratio of an n-gram is log((p / Σp) / (q / Σq)). p is 1 + the number of the class's texts
    with the n-gram, q is 1 + the number of all other texts with it. A model of two classes has the
    ratios of class 1; with more classes, each class has its column.

    Args:
        model: its layer named `RATIOS` gets the ratios.
        batches: the model's input for the training texts, in the order of `labels`: the n-grams,
            int32 (n_rows, n), or a dictionary with the key "ngrams".
        labels: class numbers, int64 (n_texts,).
        n_classes: number of classes.
    """
    layer = model.get_layer(RATIOS)
    counts = np.ones((n_classes, layer.input_dim))
    first = 0
    for batch in batches:
        ngrams = batch["ngrams"] if isinstance(batch, dict) else batch
        of_batch = labels[first : first + len(ngrams)]
        first += len(ngrams)
        for label in range(n_classes):
            ids = ngrams[of_batch == label].ravel()
            counts[label] += np.bincount(ids, minlength=layer.input_dim)
    classes = [1] if n_classes == 2 else range(n_classes)
    ratios = np.stack([_log_count_ratio(counts, label) for label in classes], axis=1)
    layer.set_weights([ratios.astype(np.float32)])


def _log_count_ratio(counts: npt.NDArray[np.float64], label: int) -> npt.NDArray[np.float64]:
    """Return the ratio of each id, float64 (n_ids,), from the counts of each class, (n_classes,
    n_ids).

    Padding and unknown n-grams have the ratio 0.
    """
    counts = counts[:, 2:]
    p = counts[label]
    q = counts.sum(axis=0) - p - (len(counts) - 2)  # 1 + the number of the other classes' texts
    ratio = np.log(p / p.sum()) - np.log(q / q.sum())
    return np.concatenate([np.zeros(2), ratio])
