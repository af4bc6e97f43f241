"""A study in Optuna's storage: prepares its data, opens and locks it, reads its trials, makes its
samplers and sums it up.

Imports confirmation, data, evaluation, pretrained, raw_text, spaces and the modules directly in
`tuning`.
"""
