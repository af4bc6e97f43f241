"""Processes and Ray actors that train: their messages, their limits, the pools that start and
replace them.

Imports data, kernels, spaces, training and the modules directly in `tuning`.
"""
