"""A functional model with a fixed input length and several widths of convolutions."""

from keras import Input, Model
from keras.layers import (
    Concatenate,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalMaxPooling1D,
)
from keras.optimizers import Adam


def model_builder(hp):
    inputs = Input(shape=(10,), dtype="int32", name="text")
    x = Embedding(30, 6, name="embedding")(inputs)
    pooled = []
    for size in (2, 3):
        conv = Conv1D(hp.Int(f"filters_{size}", 3, 6), size, activation="relu")(x)
        pooled.append(GlobalMaxPooling1D()(conv))
    pooled.append(Flatten()(x))
    x = Concatenate()(pooled)
    x = Dropout(hp.Float("dropout", 0.0, 0.5, step=0.25))(x)
    outputs = Dense(1, activation="sigmoid")(x)
    model = Model(inputs=inputs, outputs=outputs)
    model.compile(
        optimizer=Adam(hp.Choice("learning_rate", values=[1e-2, 1e-3])),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model
