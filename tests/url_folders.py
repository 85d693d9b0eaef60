"""What tests of run folders at URLs share."""

import json
import time

from tensorflow.io import gfile

from launch.shared import lease

_copy = gfile.copy


def copy(source, target, overwrite=False):
    """Copies as on other file systems: in memory, TensorFlow appends to what it should replace."""
    if overwrite and gfile.exists(target):
        gfile.remove(target)
    _copy(source, target, overwrite)


def fill(mirror, *names):
    """Writes files, which hold their own names, into the local folder; returns the mirror."""
    for name in names:
        path = mirror.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return mirror


def write_lease(sweep, *, host="elsewhere", pid=1, age=0.0, token="theirs"):
    """Leaves another launcher's name at the URL."""
    (sweep / lease.NAME).write(
        json.dumps({"host": host, "pid": pid, "token": token, "time": time.time() - age})
    )
