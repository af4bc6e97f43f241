"""Classifiers on a pretrained text encoder of KerasHub, which is fine-tuned or not trained."""

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras

from tuning.commands import install
from tuning.config import is_keras_file
from tuning.errors import SpaceError
from tuning.models.classifier import (
    DEFAULT_TRAINING,
    TrainingOptions,
    class_activation,
    compile_classifier,
    loss_of,
    metric_of,
    output_width,
)
from tuning.models.ngrams import LOGITS, WEIGHTS, ngram_logits, scaled
from tuning.models.words import mean_over_words, zero_padding
from tuning.text import first_line

# KerasHub numbers the layers of an encoder: transformer_layer_0, …
_BLOCK = re.compile(r"_layer_\d+$")


@keras.saving.register_keras_serializable("tuning")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises from 0 in the first part of a training, then falls to 0 (Howard
    and Ruder 2018, "Universal Language Model Fine-tuning for Text Classification").

    The number of steps of an epoch is a variable, which `fit_schedule` sets, because `build(hp)`
    has no access to the number of texts. Until then the rate is constant.

    Args:
        learning_rate: the highest rate.
        epochs: number of epochs after which the rate is 0.
        warm_up: share of the steps in which the rate rises.
    """

    def __init__(self, learning_rate: float, *, epochs: int, warm_up: float = 0.1) -> None:
        self.learning_rate, self.epochs, self.warm_up = learning_rate, epochs, warm_up
        self.steps_per_epoch = keras.Variable(0.0, trainable=False, name="steps_per_epoch")

    def __call__(self, step: Any) -> Any:
        ops = keras.ops
        n_steps = ops.convert_to_tensor(self.steps_per_epoch) * self.epochs
        # The middle of the step: with one step, neither 0 nor beyond the end.
        done = (ops.cast(step, "float32") + 0.5) / ops.maximum(n_steps, 1.0)
        rising = done / max(self.warm_up, 1e-6)
        falling = (1.0 - done) / (1.0 - self.warm_up)
        factor = ops.clip(ops.minimum(rising, falling), 0.0, 1.0)
        return self.learning_rate * ops.where(n_steps > 0, factor, 1.0)

    def get_config(self) -> dict[str, float]:
        return {
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "warm_up": self.warm_up,
        }


# docs/transformers.md has the time and the accuracy of a training with these defaults.
def transformer_classifier(
    preset: str,
    *,
    learning_rate: float = 1e-4,
    epochs: int = 1,
    warm_up: float = 0.1,
    weight_decay: float = 0.01,
    dropout: float = 0.1,
    frozen_share: float = 0.0,
    trained_layers: int = 0,
    ngram_vocab_size: int = 0,
    ngram_share: float = 0.5,
    n_classes: int = 2,
    multi_label: bool = False,
) -> keras.Model:
    """Return a compiled classifier of the mean of the tokens of a pretrained encoder.

    The model's input "tokens" is int32 (batch, length): the ids of the preset's tokenizer, each
    plus one, and 0 for padding. Its output is that of `lstm_classifier`. It does not depend on the
    padding.

    With `ngram_vocab_size`, the logits of a prediction are the weighted mean of the encoder's and
    of `ngram_logits` (Mesnil et al. 2014, "Ensemble of Generative and Discriminative Techniques for
    Sentiment Analysis of Movie Reviews"). The weights of the n-grams are those that
    `fit_linear_model` sets, and the training trains the encoder as if it were alone: beside n-grams
    that fit the training texts, its gradients would be small. Without `fit_linear_model`, the
    n-grams only make the predictions less certain. The second input is "ngrams", int32 (batch, n),
    as for `ngram_classifier`.

    Args:
        preset: a folder, an address, or a name in KerasHub's list.
        learning_rate: the highest learning rate of AdamW.
        epochs: number of epochs after which the learning rate is 0.
        warm_up: share of the steps in which the learning rate rises.
        weight_decay: share of each weight that is subtracted in a step, times the learning rate.
            Biases, embeddings and normalizations do not decay.
        dropout: share of the mean's columns that is dropped in training. The encoder has its own.
        frozen_share: share of the encoder's layers, from the lowest, that are not trained. With
            such a layer, the embeddings are not trained either.
        trained_layers: number of the encoder's last layers that the model contains, all layers if
            the encoder has fewer; 0 for the whole encoder with its embeddings. The other layers are
            not trained and have no dropout, and the model's input is what they give: "features",
            float32 (batch, length, width), with zeros for padding.
        ngram_vocab_size: number of n-gram ids, padding and unknown included; 0 for a model without
            n-grams.
        ngram_share: weight of the logits of the n-grams, from 0 to 1.
        n_classes: number of classes or labels; 1 for a number.
        multi_label: whether a text has several labels.

    Raises:
        SpaceError: KerasHub is not installed, or can't load the preset.
    """
    encoder = load_encoder(preset)
    freeze(encoder, frozen_share)
    x = input_of(encoder, layers=trained_layers)
    features = keras.layers.Dropout(dropout)(encode(encoder, x, last=trained_layers))
    logits = keras.layers.Dense(output_width(n_classes, multi_label))(features)
    model = with_votes(
        [x],
        logits,
        class_activation(n_classes, multi_label),
        vocab_size=ngram_vocab_size,
        share=ngram_share,
        name="transformer",
    )
    schedule = WarmUp(learning_rate, epochs=epochs, warm_up=warm_up)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay, global_clipnorm=1.0)
    # The optimizer tracks the variable, so that a checkpoint contains it.
    optimizer.steps_per_epoch = schedule.steps_per_epoch
    optimizer.exclude_from_weight_decay(var_names=["bias", "embeddings", "gamma", "beta"])
    loss = loss_of(model, n_classes, multi_label=multi_label)
    model.compile(optimizer=optimizer, loss=loss, metrics=[metric_of(n_classes, multi_label)])
    return model


def features_classifier(
    preset: str,
    *,
    words: Callable[[keras.KerasTensor], keras.KerasTensor] | None = None,
    units: int = 0,
    dropout: float = 0.0,
    ngram_vocab_size: int = 0,
    ngram_share: float = 0.5,
    n_classes: int = 2,
    multi_label: bool = False,
    training: TrainingOptions = DEFAULT_TRAINING,
) -> keras.Model:
    """Return a compiled classifier of features, with n-grams beside them as in
    `transformer_classifier`.

    The input "features" is float32 (batch, width): the mean of the vectors that the encoder of the
    preset gives for the tokens of a text, or the vector of a Keras model. The next inputs are
    "ids", as for `words_classifier`, if `words` is given, and "ngrams", if `ngram_vocab_size` is
    not 0.

    Args:
        preset: a folder, an address, a name in KerasHub's list, or the file of a Keras model. Only
            its width is read.
        words: a function from token ids to features of the words, as for `words_classifier`, which
            stand beside those of the preset.
        units: number of units of a hidden layer; 0 for none.
        dropout: share of the columns before the last layer that is dropped in training.

    Raises:
        SpaceError: KerasHub is not installed, or can't load the preset.
    """
    features = keras.Input((encoder_width(preset),), name="features")
    inputs, x = [features], keras.layers.LayerNormalization(center=False, scale=False)(features)
    if words:
        inputs.append(keras.Input((None,), dtype="int32", name="ids"))
        x = keras.layers.Concatenate()([x, words(inputs[-1])])
    if units:
        x = keras.layers.Dense(units, activation="relu")(x)
    x = keras.layers.Dropout(dropout)(x)
    logits = keras.layers.Dense(output_width(n_classes, multi_label))(x)
    model = with_votes(
        inputs,
        logits,
        class_activation(n_classes, multi_label),
        vocab_size=ngram_vocab_size,
        share=ngram_share,
        name="features",
    )
    return compile_classifier(
        model, n_classes=n_classes, multi_label=multi_label, training=training
    )


def with_votes(
    inputs: list[keras.KerasTensor],
    logits: Any,
    activation: keras.layers.Layer,
    *,
    vocab_size: int,
    share: float,
    name: str,
) -> keras.Model:
    """Return a model from its inputs to the activation of its logits. In a prediction, the logits
    are their mean with those of `vocab_size` n-grams, if it is not 0, whose weight is `share`.
    """
    ops, n_outputs = keras.ops, logits.shape[-1]
    if vocab_size:
        ngrams = keras.Input((None,), dtype="int32", name="ngrams")
        # `unit_length` does not help here. With the best share of each, the validation accuracy is
        # 0.7960 with and without it for 14 categories of Amazon reviews, and 0.8937 instead of
        # 0.8952 for sentiment (features of MiniLM, means of three seeds, by hand).
        wide = scaled(
            ngram_logits(ngrams, vocab_size=vocab_size, n_outputs=n_outputs), start="zeros"
        )
        change = ops.multiply(ops.subtract(wide, logits), share)
        # This dropout leaves nothing in training, and everything in a prediction.
        inputs, logits = [*inputs, ngrams], ops.add(logits, keras.layers.Dropout(1.0)(change))
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], activation(logits), name=name)
    for layer in (WEIGHTS, LOGITS) if vocab_size else ():
        model.get_layer(layer).trainable = False
    return model


def fit_schedule(model: keras.Model, *, n_texts: int, batch_size: int) -> None:
    """Set the number of steps of an epoch of a model that `transformer_classifier` returned."""
    own_optimizer(model).steps_per_epoch.assign(math.ceil(n_texts / batch_size))


def own_optimizer(model: keras.Model) -> Any:
    # Keras wraps the optimizer of a model in float16.
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def load_encoder(preset: str) -> keras.Model:
    """Return the encoder of a preset with its weights. It maps a dictionary of ids, a padding mask
    and, for some presets, segments to a vector for each token.
    """
    with _loading(preset) as keras_hub:
        encoder = keras_hub.models.Backbone.from_preset(preset)
    if isinstance(encoder.output, dict):
        # BERT also returns a vector of the whole text, from a layer that would not be trained.
        encoder = keras.Model(encoder.input, encoder.output["sequence_output"], name=encoder.name)
    return encoder


def encoder_width(preset: str) -> int:
    """Return the width of the vectors of a preset's encoder. Only a Keras model is loaded with
    its weights.
    """
    if is_keras_file(preset):
        return int(text_encoder(preset).output.shape[-1])
    with _loading(preset) as keras_hub:
        # KerasHub has no public function for a configuration. An encoder without its weights would
        # draw from the random numbers with which the model begins.
        loader = keras_hub.src.utils.preset_utils.get_preset_loader(preset)
        if converter := getattr(loader, "converter", None):  # of a Hugging Face model
            return int(converter.convert_backbone_config(loader.config)["hidden_dim"])
        return int(loader.config["config"]["hidden_dim"])


@contextlib.contextmanager
def _loading(preset: str) -> Iterator[Any]:
    try:
        import keras_hub
    except ImportError as error:
        raise SpaceError(
            f"A preset needs the package keras-hub; importing it gave: {error}. Type"
            f" `{install('pretrained')}`."
        ) from error
    try:
        yield keras_hub
    except Exception as error:  # Its sources raise errors of files, HTTP and sockets.
        raise SpaceError(
            f"KerasHub must be able to load the preset {preset!r}; loading it gave"
            f" {type(error).__name__}: {first_line(error)}"
        ) from error


def input_of(encoder: keras.Model, *, layers: int = 0) -> keras.KerasTensor:
    if layers:  # The input of the encoder's last layers.
        return keras.Input((None, encoder.output.shape[-1]), name="features")
    return keras.Input((None,), dtype="int32", name="tokens")


def encode(
    encoder: keras.Model, x: keras.KerasTensor, *, last: int = 0, without: int = 0
) -> keras.KerasTensor:
    """Return the mean of an encoder's vectors of the tokens of a text, float32 (batch, width).

    `x` is int32 (batch, length): the ids of the preset's tokenizer, each plus one, and 0 for
    padding, on which the mean does not depend. Without the encoder's last layers, as many as
    `without`, the output is the vectors themselves, (batch, length, width), with zeros for padding.
    With `last`, the last layers alone are computed, and `x` is such an output.
    """
    ops, vectors = keras.ops, _below(encoder, without) if without else encoder.output
    is_token = ops.not_equal(x, 0)
    if last:
        is_token = ops.any(is_token, axis=-1)
        start = [_below(encoder, last), encoder.input["padding_mask"]]
        vectors = keras.Model(start, vectors, name="last_layers")([x, ops.cast(is_token, "int32")])
    else:
        ids = ops.maximum(ops.subtract(x, 1), 0)
        of_encoder = {"token_ids": ids, "padding_mask": ops.cast(is_token, "int32")}
        if "segment_ids" in encoder.input:
            of_encoder["segment_ids"] = ops.zeros_like(ids)
        part = keras.Model(encoder.input, vectors, name="first_layers") if without else encoder
        vectors = part(of_encoder)
    is_token = ops.expand_dims(is_token, -1)
    return zero_padding(vectors, is_token) if without else mean_over_words(vectors, is_token)


def frozen_encoder(preset: str, *, last: int = 0, without: int = 0) -> keras.Model:
    """Return the encoder of a preset, or the part of it that `encode` describes, as a model. The
    encoder in a Keras file takes texts and can't be divided.
    """
    if is_keras_file(preset):
        if without:
            raise SpaceError(f"trained_layers must be 0 for the Keras model {preset!r}.")
        return text_encoder(preset)
    encoder = load_encoder(preset)
    x = input_of(encoder, layers=last)
    name = f"encoder_without_{without}" if without else "encoder"
    return keras.Model(x, encode(encoder, x, last=last, without=without), name=name)


def text_encoder(path: str) -> keras.Model:
    """Return a Keras model in a file as a model from texts, strings (batch,), to one vector for
    each, (batch, width). An export contains this model, and is loaded with Keras alone.
    """
    try:  # Keras' safe mode takes no code from the file.
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises errors of many classes.
        raise SpaceError(
            f"preset must be a Keras model whose layers are Keras' own; loading {path!r} gave"
            f" {type(error).__name__}: {first_line(error)}"
        ) from error
    for layer in model._flatten_layers():
        package = type(layer).__module__.split(".")[0]
        if package != "keras":
            raise SpaceError(
                f"preset must be a Keras model whose layers are Keras' own; {path!r} has a"
                f" {type(layer).__name__} of {package}."
            )
    tensors = [getattr(model, name, None) or [] for name in ("inputs", "outputs")]
    shapes = [[(tensor.dtype, *tensor.shape[1:]) for tensor in of_side] for of_side in tensors]
    given, made = shapes
    takes_texts = given in ([("string",)], [("string", 1)])
    if not takes_texts or not _is_vector(made):
        advice = "begins with its TextVectorization"
        if takes_texts:
            advice = "embeds and pools its tokens"
        raise SpaceError(
            "preset must be a Keras model that takes a text and gives a vector for it; the inputs"
            f" of {path!r} are {given} and its outputs {made}. Save a model that {advice}."
        )
    text = keras.Input((), dtype="string")
    column = text if given == [("string",)] else keras.ops.expand_dims(text, -1)
    return keras.Model(text, model(column), name="encoder")


def _is_vector(outputs: list[tuple[Any, ...]]) -> bool:
    """Return whether outputs, their types and their shapes, are one vector with a fixed width."""
    match outputs:
        case [(dtype, int())]:
            return bool(keras.backend.is_float_dtype(dtype))
    return False


def _below(encoder: keras.Model, n_layers: int) -> keras.KerasTensor:
    """Return the vectors that an encoder's last layers take, or all layers if it has fewer."""
    blocks = _blocks(encoder)[-n_layers:]
    if not blocks:
        raise SpaceError(
            "trained_layers must be 0 for an encoder without numbered layers; the encoder is"
            f" {encoder.name!r}."
        )
    return keras.tree.flatten(blocks[0].input)[0]


def _blocks(encoder: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in encoder.layers if _BLOCK.search(layer.name)]


def freeze(encoder: keras.Model, share: float) -> None:
    """Set the given share of an encoder's numbered layers, from the lowest, and all layers below
    them to be not trainable.
    """
    blocks = _blocks(encoder)
    n_frozen = round(share * len(blocks))
    if n_frozen:
        last = encoder.layers.index(blocks[n_frozen - 1])
        for layer in encoder.layers[: last + 1]:
            layer.trainable = False
