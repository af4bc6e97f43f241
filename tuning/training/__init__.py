"""The training of a model: the view of the data, the epochs and the checkpoint.

Imports data, evaluation, kernels, padding, pretrained, raw_text, spaces and the modules directly
in `tuning`.
"""
