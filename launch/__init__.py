"""Sweeps: a grid of trials, the executors that run it, and the report of what came out.

Nothing here imports TensorFlow: a trial is run by a function that is handed in.
"""
