"""Looks for the smallest file at an accuracy floor, one curve of a sweep at a time.

A curve is what a sweep varies beside the searched axes: an architecture with an algorithm. Each
point that is asked for becomes a grid of the search's own sweep, so its trials are like any other,
and the history of a search is that sweep file with the results on disk. Optuna proposes the next
point from the history and keeps nothing: a search that was killed goes on as if it had not been.
"""
