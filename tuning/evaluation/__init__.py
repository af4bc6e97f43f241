"""The evaluation of a model's predictions: intervals, paired tests, reference models, and the test
split.
"""
