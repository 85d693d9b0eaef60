"""Fixed, seeded, stratified splits."""

from collections.abc import Mapping, Sequence

import numpy as np

SEED = 0


def stratified_split(labels: Sequence[int], sizes: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Divides examples into splits that have the same mix of classes.

    Every call with equal arguments returns equal splits. Within a split the order is random, so
    that a small shuffle buffer sees every class.

    Args:
        labels: the label of each example.
        sizes: split name to its share; shares are relative. The splits are disjoint and together
            hold every example; within a class, split sizes are the shares' to one example.

    Returns:
        Split name to the int64 indices of its examples.

    >>> parts = stratified_split([0, 1] * 10, {"train": 8, "validation": 1, "test": 1})
    >>> {name: sorted(np.array([0, 1] * 10)[indices]) == [0] * n + [1] * n
    ...  for (name, indices), n in zip(parts.items(), (8, 1, 1))}
    {'train': True, 'validation': True, 'test': True}
    """
    labels = np.asarray(labels)
    rng = np.random.default_rng(SEED)
    shares = np.cumsum(list(sizes.values())) / sum(sizes.values())
    parts: dict[str, list[np.ndarray]] = {name: [] for name in sizes}
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        ends = np.rint(shares * len(members)).astype(int)
        for name, part in zip(sizes, np.split(members, ends[:-1]), strict=True):
            parts[name].append(part)
    return {name: rng.permutation(np.concatenate(part)) for name, part in parts.items()}
