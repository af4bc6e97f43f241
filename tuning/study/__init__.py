"""A study in Optuna's storage: its data, its lock, its coordinators, its trials, its samplers and
its summary.

Imports confirmation, data, evaluation, pretrained, raw_text, spaces and the modules directly in
`tuning`.
"""
