"""The evaluation of a model's probabilities: metrics, intervals, paired tests, reference models,
and the test split.
"""
