"""The folder of a sweep whose `--runs` is a URL, as commands see it."""

import hashlib
import os
import pathlib
import re
from typing import Literal

from launch import layout
from launch.shared import mirror
from launch.shared.mirror import Mirror

_TRIAL = re.compile(r"[0-9a-f]+")


def is_url(runs: str) -> bool:
    """Tells a URL from a local folder.

    Example:
        >>> is_url("gs://bucket/runs"), is_url("/mnt/runs")
        (True, False)
    """
    return "://" in runs


def locate(runs: str, sweep: str, use: Literal["mirrors", "trials"] = "mirrors") -> Mirror:
    """Returns a sweep's folder at a URL and the folder that stands for it on this machine.

    Args:
        runs: The URL of the run folder.
        sweep: The sweep's name.
        use: What the local folder is for: commands, or trials at work.
    """
    runs = runs.rstrip("/")
    words = "-".join(re.findall(r"[A-Za-z0-9]+", runs))
    name = f"{words}-{hashlib.sha256(runs.encode()).hexdigest()[:8]}"
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return Mirror(f"{runs}/{sweep}", pathlib.Path(cache, "kwc", use, name, sweep))


def pull(sweep: Mirror) -> None:
    """Brings a sweep's trials up to date with the URL, without checkpoints.

    Raises:
        TransferError: If the URL cannot be reached.
    """
    here = os.listdir(sweep.path) if sweep.path.is_dir() else []
    names = {*sweep.names(), *here}
    mirror.pull(sweep / name for name in sorted(names) if _TRIAL.fullmatch(name))


def push_tables(sweep: Mirror) -> None:
    """Copies the files beside the trials' folders to the URL: the plan, the tables and the plots.

    Raises:
        TransferError: If the URL cannot be reached.
    """
    names = sorted(name for name in os.listdir(sweep.path) if not name.startswith("."))
    mirror.send(sweep / name for name in names)


def push_report(sweep: Mirror) -> None:
    """Copies the whole report to the URL; TensorBoard's folder goes without training curves.

    Raises:
        TransferError: If the URL cannot be reached.
    """
    push_tables(sweep)
    (sweep / layout.TENSORBOARD).push()
