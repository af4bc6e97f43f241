"""Pretrained encoders of KerasHub as the data need them: their tokenizers, and the tokens of a
corpus. The encoders themselves are loaded by `tuning.models.transformer`.

Imports `data`. Keras runs in a child process only.
"""
