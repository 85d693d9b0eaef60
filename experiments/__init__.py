"""Experiments on TF Model Garden: data preparation, small models, and the training driver."""
