"""A layer of the module that was adapted to texts of the user's own, before a functional model of
raw strings.
"""

import keras
from keras import layers

texts = [
    "Great phone case, works well",
    "broken and useless cable",
    "it was perfect for my car",
    "awful, I want a refund",
    "w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12 w13 w14 w15 w16 w17 w18 w19 w20 w21 w22 w23",
]
vectorize_layer = layers.TextVectorization(max_tokens=60, output_sequence_length=8)
vectorize_layer.adapt(texts)


def build_model(hp):
    inputs = keras.Input(shape=(1,), dtype="string", name="review")
    x = vectorize_layer(inputs)
    x = layers.Embedding(60, hp.Int("embedding_dim", 4, 8), mask_zero=True)(x)
    x = layers.LSTM(hp.Int("units", 2, 4))(x)
    outputs = layers.Dense(1, activation="sigmoid")(x)
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(hp.Choice("lr", [0.02, 0.01])),
        "binary_crossentropy",
        metrics=["accuracy"],
    )
    return model
