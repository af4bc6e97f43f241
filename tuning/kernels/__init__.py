"""Numba kernels for LSTM and GRU layers and Adam, used instead of Keras' own code while a model
trains on a CPU.
"""
