"""Two artifacts or two sweeps side by side, and the gates that the second must pass."""
