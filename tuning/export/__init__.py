"""From a study's best trial to a folder that predicts: retraining, formats, parity checks, the
model card.

Imports confirmation, data, evaluation, inference, spaces, study, training, workers and the modules
directly in `tuning`.
"""
