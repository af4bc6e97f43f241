"""A subclassed model with a layer of the user's own for words and positions."""

import keras
import keras_tuner
from keras import layers, ops


class TokenAndPositionEmbedding(layers.Layer):
    def __init__(self, maxlen, vocab, dim):
        super().__init__()
        self.token_emb = layers.Embedding(input_dim=vocab, output_dim=dim)
        self.pos_emb = layers.Embedding(input_dim=maxlen, output_dim=dim)

    def call(self, x):
        positions = ops.arange(start=0, stop=ops.shape(x)[-1], step=1)
        return self.token_emb(x) + self.pos_emb(positions)


class Classifier(keras.Model):
    def __init__(self, dim, heads):
        super().__init__()
        self.embedding = TokenAndPositionEmbedding(20, 30, dim)
        self.attention = layers.MultiHeadAttention(num_heads=heads, key_dim=dim)
        self.norm = layers.LayerNormalization(epsilon=1e-6)
        self.pool = layers.GlobalAveragePooling1D()
        self.head = layers.Dense(1, activation="sigmoid")

    def call(self, inputs):
        x = self.embedding(inputs)
        x = self.norm(x + self.attention(x, x))
        return self.head(self.pool(x))


class AttentionHyperModel(keras_tuner.HyperModel):
    def build(self, hp):
        model = Classifier(hp.Choice("dim", [4, 8]), hp.Int("heads", 1, 2))
        model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
        return model
