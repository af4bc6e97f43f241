"""Kernels that a model trains with on a CPU: LSTM layers and Adam, compiled with Numba.

Imports only the modules directly in `tuning`.
"""
