"""How many threads compute: the order of sums, and so the last bits of a result, depend on it."""

import os

import psutil

_TENSORFLOW = "TF_NUM_INTRAOP_THREADS"


def limit(count: int) -> None:
    """Sets the number of threads of computations, in a process that has not imported TensorFlow."""
    os.environ["OMP_NUM_THREADS"] = os.environ[_TENSORFLOW] = str(count)


def count() -> int:
    """Returns the number of threads of TensorFlow's computations in this process."""
    return int(os.environ.get(_TENSORFLOW) or psutil.cpu_count())
