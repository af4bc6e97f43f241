"""A function with a lazily built `Sequential`, as most users write it: the sizes of the data are
constants, `input_length` is given, and the model has no input.
"""

from keras.layers import LSTM, Dense, Embedding, SpatialDropout1D
from keras.models import Sequential

MAX_WORDS = 30
MAX_LENGTH = 10


def build_model(hp):
    model = Sequential()
    model.add(
        Embedding(MAX_WORDS, hp.Int("embedding", min_value=4, max_value=8), input_length=MAX_LENGTH)
    )
    model.add(SpatialDropout1D(hp.Float("dropout", 0.1, 0.4, step=0.1)))
    model.add(LSTM(hp.Int("units", min_value=3, max_value=6), dropout=0.2))
    model.add(Dense(1, activation="sigmoid"))
    model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model
