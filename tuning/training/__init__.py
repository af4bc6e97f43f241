"""The training of a model: the view of the data, the epochs and the checkpoint."""
