"""Exports for predictions: the manifest, the runtimes, and the labels of texts and files. The
package imports neither Optuna nor KerasTuner.
"""
