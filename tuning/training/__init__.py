"""One training: the view of the data, the model, its epochs, its checkpoint.

Imports data, evaluation, kernels, pretrained, raw_text, spaces and the modules directly
in `tuning`.
"""
